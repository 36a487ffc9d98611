"""The view of the page of contexts, checked; the work behind it; its tables."""

import threading
from dataclasses import replace

import polars as pl
import pytest
import toys
import verdicts
from files import toy_anndata, write_anndata
from held_toys import held_of
from toys import write_catalog

from explorer import held
from explorer.catalog import open_catalog
from explorer.errors import InputError
from explorer.held import (
    HeldView,
    checked_held_view,
    checked_query,
    chosen_others,
    clicked_name,
    default_held_view,
    file_stem,
    first_held_view,
    found_overlaps,
    held_link,
    held_link_warning,
    learned_names,
    linked,
    lists_names,
    options_of,
    places_of,
    read_held_view,
    report_of,
    sides,
    simple_names,
    start_overlaps,
    start_report,
)
from explorer.held_tables import (
    OVERLAP_SCHEMA,
    counts_of,
    general_edges,
    neighbor_table,
    overlap_table,
)
from explorer.keeping import NotMadeError, only_made
from explorer.work import Workshop

VIEW = HeldView("toy", "alpha", ("beta",), "raw", "raw", "latent", "none")
ASKED = {
    "dataset": "toy", "context": "alpha", "others": ["beta"], "representation": "raw", "simple": "raw",
    "learned": "latent", "align": "none",
}  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return verdicts.write_catalog(tmp_path_factory.mktemp("held"))


@pytest.fixture(scope="module")
def catalog(root):
    return open_catalog(root)


@pytest.fixture(scope="module")
def two_sets(tmp_path_factory):
    """Two data sets that name their perturbations alike, and a third that does not."""
    folder = tmp_path_factory.mktemp("two")
    verdicts.write_catalog(folder)
    other = write_catalog(folder / "other", {"title": "Other"}, names=verdicts.NAMES[:100])
    (other / "toy").rename(folder / "elsewhere")
    third = write_catalog(folder / "third", {"title": "Third"}, names=[f"X{number}" for number in range(30)])
    (third / "toy").rename(folder / "foreign")
    return open_catalog(folder)


@pytest.fixture(autouse=True)
def _own_workshop(monkeypatch):
    monkeypatch.setattr(held, "shared_workshop", Workshop())


@pytest.fixture(scope="module")
def made(catalog):
    ticket = start_report(catalog, VIEW)
    assert ticket.wait(60)
    assert ticket.problem == ""
    return ticket.result


# ---------------------------------------------------------------- the view


def test_an_empty_link_shows_the_card_s_defaults(catalog):
    assert read_held_view({}, catalog) == (VIEW, ())
    dataset = catalog.dataset("toy")
    assert default_held_view(catalog, dataset) == VIEW
    assert default_held_view(catalog, dataset, "beta") == replace(VIEW, context="beta", others=("alpha",))
    assert simple_names(dataset) == ("raw",)
    assert learned_names(dataset) == ("latent", "latent-seed-1")
    assert sides(VIEW) == ("raw", "latent")


def test_a_link_gives_the_view_back(catalog):
    view = replace(
        VIEW, context="beta", others=("alpha",), representation="latent", learned="latent-seed-1", align="center",
        query="G003", recipes="a.b",
    )  # fmt: skip
    assert read_held_view(held_link(view), catalog) == (view, ())
    assert held_link(VIEW, recipes="c.d")["recipes"] == "c.d"
    assert set(held_link(VIEW)) == {
        "dataset", "context", "others", "representation", "left", "right", "align", "query", "recipes",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("dataset", "../../etc", "unknown dataset '../../etc'"),
        ("context", "gamma", "unknown context 'gamma'"),
        ("others", "gamma", "unknown contexts 'gamma': comparing with beta"),
        ("others", "alpha", "unknown contexts 'alpha': comparing with beta"),
        ("others", "", "no other context was named: comparing with beta"),
        ("others", "beta,gamma", "unknown contexts 'gamma': comparing with beta"),
        ("representation", "raaw", "unknown representation 'raaw': did you mean 'raw'"),
        ("left", "latent", "unknown simple representation 'latent'"),
        ("right", "raw", "unknown learned representation 'raw'"),
        ("align", "<script>", "unknown alignment '<script>'"),
    ],
)
def test_what_a_link_can_not_have_falls_back_and_is_said(catalog, name, value, says):
    view, problems = read_held_view({name: value}, catalog)
    assert view == VIEW
    assert len(problems) == 1
    assert says in problems[0]


def test_other_data_sets_that_share_names_can_be_asked(two_sets):
    options = options_of(two_sets, replace(VIEW).here)
    assert list(options) == ["beta", "elsewhere/alpha", "elsewhere/beta"]
    view, problems = read_held_view({"dataset": "toy", "others": "beta,elsewhere/alpha"}, two_sets)
    assert problems == ()
    assert view.others == ("beta", "elsewhere/alpha")
    assert [place.dataset for place in places_of(two_sets, view)] == ["toy", "elsewhere"]
    assert read_held_view({"dataset": "toy"}, two_sets)[0].others == ("beta",), "those of the same data set at first"
    ticket = start_report(two_sets, view)
    assert ticket.wait(60)
    assert ticket.problem == ""
    assert ticket.result.report.others == view.others, "labels are the names of the menu"
    assert "data set" in ticket.result.comparisons[1].differing


def test_nothing_to_compare_with(tmp_path):
    catalog = open_catalog(write_anndata(tmp_path / "screen.h5ad", toy_anndata()))
    view, problems = read_held_view({}, catalog)
    assert (view.others, problems) == ((), ())
    asked = {**ASKED, "dataset": view.dataset, "context": view.context, "others": []}
    asked |= {"representation": view.representation, "simple": view.simple, "learned": view.learned}
    with pytest.raises(InputError, match="has no context but 'all', and no other data set on offer names its") as error:
        checked_held_view(catalog, **asked)
    assert "\n" not in str(error.value)
    assert chosen_others(catalog, view, "all") == ((), ())


def test_first_view(catalog):
    asked = replace(VIEW, query="G003")
    assert first_held_view("toy", asked, catalog) is asked
    assert first_held_view("toy", replace(asked, dataset="other"), catalog) == VIEW
    with pytest.raises(InputError, match="unknown dataset"):
        first_held_view("nowhere", asked, catalog)


def test_menu_of_other_contexts_follows_the_context(catalog):
    assert chosen_others(catalog, VIEW, "alpha") == (("beta",), ("beta",))
    assert chosen_others(catalog, VIEW, "beta") == (("alpha",), ("alpha",))
    assert chosen_others(catalog, VIEW, ["forged"]) == (("beta",), ("beta",))


def test_values_on_offer(catalog):
    assert checked_held_view(catalog, **ASKED) == VIEW


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dataset", "nowhere"),
        ("context", None),
        ("context", ["alpha"]),
        ("others", ["alpha"]),
        ("others", ["beta", "gamma"]),
        ("others", [["beta"]]),
        ("others", None),
        ("others", []),
        ("representation", 3),
        ("simple", "latent"),
        ("learned", True),
        ("align", "rotate"),
    ],
)
def test_values_that_were_not_on_offer_are_refused(catalog, name, value):
    with pytest.raises(InputError) as caught:
        checked_held_view(catalog, **{**ASKED, name: value})
    assert "\n" not in str(caught.value)


def test_query(catalog, made):
    assert checked_query(catalog, made, "G003") == ("G003", "")
    assert checked_query(catalog, made, "g003") == ("G003", ""), "upper case is tried"
    assert checked_query(catalog, made, "") == ("G000", "")
    query, said = checked_query(catalog, made, "G0003")
    assert query == "G000"
    assert said.startswith("unknown perturbation 'G0003': did you mean")
    assert said.endswith("showing 'G000' instead")
    for forged in (None, 3, ["G003"], "<img src=x>"):
        assert checked_query(catalog, made, forged)[0] == "G000"


def test_link_warning(made):
    assert len(made.recipes.split(".")) == 2
    assert held_link_warning(VIEW, made) == ""
    assert held_link_warning(replace(VIEW, recipes=made.recipes), made) == ""
    assert "the data or the method changed since" in held_link_warning(replace(VIEW, recipes="x.y"), made)
    assert held_link_warning(replace(VIEW, recipes="x.y", align="center"), made) == "", "the user chose another"
    assert linked(made, "G003") == held_link(replace(VIEW, query="G003"), recipes=made.recipes)


def test_file_stem():
    assert file_stem(VIEW) == "raw-toy-alpha-in-beta"
    assert "/" not in file_stem(replace(VIEW, others=("../<b>",)))


class Cell:
    def __init__(self, value):
        self.value = value


@pytest.mark.parametrize(
    ("cells", "name"),
    [
        ([Cell("B")], "B"),
        ([Cell("● holds")], ""),
        ([Cell(0.5)], ""),
        ([Cell(["B"])], ""),
        ([], ""),
        (None, ""),
        ([Cell("B"), Cell("C")], ""),
        (["B"], ""),
    ],
)
def test_clicks(cells, name):
    assert clicked_name(cells, held_of()) == name


# ---------------------------------------------------------------- the work


def test_report_is_that_of_the_catalog(catalog, made):
    assert made.report.others == ("beta",)
    assert made.view == VIEW
    assert made.passport.context == "alpha"
    assert [compared.other.context for compared in made.comparisons] == ["beta"]
    assert lists_names(made)
    assert len(made.report.names) == 109, "the last one is absent from beta"
    again = report_of(catalog, VIEW.here, places_of(catalog, VIEW))
    assert again is made.report
    with only_made():
        assert report_of(catalog, VIEW.here, places_of(catalog, VIEW)) is made.report
        with pytest.raises(NotMadeError):
            report_of(catalog, replace(VIEW, align="sphere").here, places_of(catalog, replace(VIEW, align="sphere")))


def test_modules_hold(made):
    (counts,) = counts_of(made.report)
    assert counts.n_holds > 100
    table = neighbor_table(made.report, "G000")
    assert table.columns == ["rank", "perturbation", "similarity", "known", "in beta", "listed by"]
    mates = table.filter(pl.col("perturbation").is_in(["G001", "G002", "G003", "G004"]))
    assert mates.filter(pl.col("in beta") == "● holds").height >= 3


def test_too_few_is_one_sentence_and_is_remembered(tmp_path, monkeypatch):
    catalog = open_catalog(toys.write_catalog(tmp_path))
    ticket = start_report(catalog, replace(VIEW, align="none"))
    assert ticket.wait(60)
    assert ticket.state == "failed"
    assert "29 perturbations" in ticket.problem
    assert "\n" not in ticket.problem
    monkeypatch.setattr(held, "shared_report", None)
    with pytest.raises(InputError, match="29 perturbations"):
        report_of(catalog, VIEW.here, places_of(catalog, VIEW))


def test_two_sessions_share_one_report(catalog, monkeypatch):
    n_calls, go, ask = [], threading.Event(), held.shared_report

    def slow(*arguments, **options):
        n_calls.append(1)
        assert go.wait(60)
        return ask(*arguments, **options)

    monkeypatch.setattr(held, "shared_report", slow)
    view = replace(VIEW, representation="latent")
    one, other = (start_report(catalog, view) for _ in range(2))
    go.set()
    assert one.wait(60)
    assert other.wait(60)
    assert one.result is other.result
    assert len(n_calls) == 1


def test_overlaps(catalog, made):
    assert found_overlaps(catalog, VIEW) is None
    ticket = start_overlaps(catalog, VIEW)
    assert ticket.wait(60)
    assert ticket.problem == ""
    assert found_overlaps(catalog, VIEW) is ticket.result
    table = overlap_table(made.report, ticket.result)
    assert table.columns == list(OVERLAP_SCHEMA)
    assert set(table["other"]) == {"beta"}
    assert set(table["representation"]) == {"raw", "latent", "latent-seed-1"}
    assert table.filter(pl.col("representation") == "raw")["adjusted"][0] > 0.1, "modules are the same in both"


def test_a_map_is_not_held_against_itself(tmp_path):
    kinds = {"representations": {"one": {"kind": "placebo", "source": "X"}}, "defaults": None}
    catalog = open_catalog(verdicts.write_catalog(tmp_path, kinds))
    view, _ = read_held_view({}, catalog)
    assert view.simple == view.learned == "one"
    ticket = start_overlaps(catalog, view)
    assert ticket.wait(60)
    assert ticket.result[0].comparison is None


def test_combining_is_what_the_report_itself_does(two_sets):
    view = replace(VIEW, others=("beta", "elsewhere/alpha"))
    made = report_of(two_sets, view.here, places_of(two_sets, view))
    asked = replace(made, at_least=3 - made.at_least)
    again = general_edges(asked, at_least=made.at_least)
    assert again["holds"].to_list() == made.edges["holds_general"].to_list()
    assert again["q"].to_list() == pytest.approx(made.edges["q_general"].to_list(), nan_ok=True)
