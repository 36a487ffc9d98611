"""The view of the judge, checked; the work behind it; its tables."""

import json
import math
import threading
from dataclasses import replace

import polars as pl
import pytest
import verdicts
from files import toy_anndata, write_anndata
from verdicts import VIEW, flip, judged_of, judgement, with_test

from explorer import judged
from explorer.catalog import open_catalog
from explorer.cli import main
from explorer.errors import InputError
from explorer.judged import (
    BUDGETS,
    FOREST_SCHEMA,
    PLANNED,
    Looked,
    budget_steps,
    checked_judge_view,
    declared_view,
    file_stem,
    first_judge_view,
    forest_table,
    group_table,
    is_in_card,
    judge_link,
    judge_link_warning,
    judgement_json,
    learned_names,
    neighbor_steps,
    plan_table,
    read_judge_view,
    recipes_judged,
    sides,
    simple_names,
    source_names,
    source_table,
    start_judging,
    usual_sources,
)
from explorer.judgements import usual_alignment
from explorer.passport import passport_of
from explorer.work import Workshop

ASKED = {
    "dataset": "toy", "context": "alpha", "simple": "raw", "learned": "latent", "align": "none", "sources": ["Pairs"],
    "k": 10, "budget": 100,
}  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return verdicts.write_catalog(tmp_path_factory.mktemp("judged"))


@pytest.fixture(scope="module")
def catalog(root):
    return open_catalog(root)


@pytest.fixture(autouse=True)
def _own_workshop(monkeypatch):
    monkeypatch.setattr(judged, "shared_workshop", Workshop())


# ---------------------------------------------------------------- the view


def test_declared_view_is_the_card_s(catalog):
    dataset = catalog.dataset("toy")
    assert declared_view(dataset, "alpha") == VIEW
    assert declared_view(dataset, "beta", budget=50) == replace(VIEW, context="beta", budget=50)
    assert simple_names(dataset) == ("raw",)
    assert learned_names(dataset) == ("latent", "latent-seed-1")
    assert source_names(dataset) == ("Pairs", "Sets")
    assert usual_sources(dataset) == ("Pairs",)
    assert is_in_card(dataset)


@pytest.mark.parametrize(
    "defaults",
    [
        None,
        {"left": "raw"},
        {"right": "latent"},
        # The wrong way round: the page shows others.
        {"left": "latent", "right": "raw"},
    ],
)
def test_what_the_card_does_not_declare_is_not_called_declared(tmp_path, defaults):
    root = verdicts.write_catalog(tmp_path, {"defaults": defaults})
    catalog = open_catalog(root)
    assert not is_in_card(catalog.dataset("toy"))
    # Controls stand in both plates, so that both maps are centred on them.
    assert declared_view(catalog.dataset("toy"), "alpha") == replace(VIEW, align="center")
    ticket = start_judging(catalog, replace(VIEW, align="center"))
    assert ticket.wait(60)
    assert not ticket.result.is_in_card
    assert ticket.result.is_declared


def test_alignment_where_the_rows_can_not_be_read(tmp_path):
    root = verdicts.write_catalog(tmp_path, {"defaults/align": None})
    (root / "toy" / "rows_alpha.parquet").write_bytes(b"PAR1")
    assert usual_alignment(open_catalog(root).dataset("toy"), "alpha") == "none"


def test_a_single_file_declares_nothing(tmp_path):
    catalog = open_catalog(write_anndata(tmp_path / "screen.h5ad", toy_anndata()))
    dataset = catalog.dataset(catalog.names[0])
    assert not is_in_card(dataset)
    ticket = start_judging(catalog, declared_view(dataset, dataset.context()))
    assert ticket.wait(60)
    assert ticket.state == "failed"
    assert ticket.problem.startswith("no known pairs or gene sets stand beside 'screen', so there is nothing to judge")
    assert "whoever keeps this dataset can put a folder of them beside it and name that in its card.toml, as" in (
        ticket.problem
    )
    assert "a single file goes into a folder with a card.toml first" in ticket.problem
    assert "\n" not in ticket.problem


def test_gene_sets_can_be_chosen_and_come_second(catalog):
    view, problems = read_judge_view({"sources": "Sets"}, catalog)
    assert (view, problems) == (replace(VIEW, sources=("Sets",)), ())
    both = checked_judge_view(catalog, **{**ASKED, "sources": ["Sets", "Pairs"]})
    assert both.sources == ("Pairs", "Sets")
    assert read_judge_view(judge_link(both), catalog) == (both, ())
    ticket = start_judging(catalog, both)
    assert ticket.wait(60)
    assert {source.source for source in ticket.result.judgement.sources} == {"Pairs", "Sets"}


def test_gene_sets_alone_are_what_is_judged_by(tmp_path):
    catalog = open_catalog(verdicts.write_catalog(tmp_path, known={"relationships": None}))
    dataset = catalog.dataset("toy")
    assert source_names(dataset) == usual_sources(dataset) == declared_view(dataset, "alpha").sources == ("Sets",)
    nothing = open_catalog(verdicts.write_catalog(tmp_path / "nothing", {"relationships": None}))
    assert usual_sources(nothing.dataset("toy")) == ()


def test_without_kinds_every_representation_is_offered(tmp_path):
    kinds = {"representations": {"one": {"kind": "placebo", "source": "X"}}, "defaults": None}
    dataset = open_catalog(verdicts.write_catalog(tmp_path, kinds)).dataset("toy")
    assert simple_names(dataset) == learned_names(dataset) == ("one",)


def test_an_empty_link_shows_what_was_declared(catalog):
    assert read_judge_view({}, catalog) == (VIEW, ())


def test_a_link_gives_the_view_back(catalog):
    view = replace(VIEW, context="beta", learned="latent-seed-1", align="center", k=7, budget=42, recipes="a.b")
    assert read_judge_view(judge_link(view), catalog) == (view, ())
    assert judge_link(VIEW, recipes="c.d")["recipes"] == "c.d"


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("dataset", "../../etc", "unknown dataset '../../etc'"),
        ("context", "gamma", "unknown context 'gamma'"),
        ("simple", "latent", "unknown simple representation 'latent'"),
        ("learned", "raw", "unknown learned representation 'raw'"),
        ("align", "<script>", "unknown alignment '<script>'"),
        ("sources", "Pears", "unknown sources 'Pears': showing Pairs"),
        ("sources", "", "no source was named: showing Pairs"),
        ("sources", "Pairs,Pears", "unknown sources 'Pears': showing Pairs"),
        ("k", "0", "k = '0' is not a number from 1 to 50; showing 10 instead"),
        ("k", "51", "k = '51' is not a number from 1 to 50; showing 10 instead"),
        ("k", "1e1", "k = '1e1' is not a number from 1 to 50"),
        ("k", "٣", "k = '٣' is not a number from 1 to 50"),
        ("budget", "-5", "budget = '-5' is not a number from 1 to 10,000; showing 100 instead"),
        ("budget", "10001", "budget = '10001' is not a number from 1 to 10,000"),
        ("budget", "9" * 5000, "is not a number from 1 to 10,000"),
    ],
)
def test_what_a_link_can_not_have_falls_back_and_is_said(catalog, name, value, says):
    view, problems = read_judge_view({name: value}, catalog)
    assert view == VIEW
    assert len(problems) == 1
    assert says in problems[0]


def test_lists_and_unknown_parameters_of_a_link(catalog):
    view, problems = read_judge_view({"k": ["3", "4"], "evil": "1"}, catalog)
    assert (view, problems) == (replace(VIEW, k=3), ())


def test_first_view(catalog):
    linked = replace(VIEW, k=3)
    assert first_judge_view("toy", linked, catalog) is linked
    assert first_judge_view("toy", replace(linked, dataset="other"), catalog) == VIEW
    with pytest.raises(InputError, match="unknown dataset"):
        first_judge_view("nowhere", linked, catalog)


def test_values_on_offer(catalog):
    assert checked_judge_view(catalog, **ASKED) == VIEW


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dataset", "nowhere"),
        ("context", None),
        ("context", ["alpha"]),
        ("simple", "latent"),
        ("learned", 3),
        ("align", "rotate"),
        ("sources", ["Pairs", "Pears"]),
        ("sources", [["Pairs"]]),
        ("sources", None),
        ("sources", []),
        ("k", 999_999),
        ("k", 2.5),
        ("k", "10"),
        ("k", True),
        ("budget", 999_999),
        ("budget", 0),
        ("budget", "100"),
        ("budget", None),
        ("budget", True),
    ],
)
def test_values_that_were_not_on_offer_are_refused(catalog, name, value):
    with pytest.raises(InputError) as caught:
        checked_judge_view(catalog, **{**ASKED, name: value})
    assert "\n" not in str(caught.value)


def test_known_relationships_that_can_not_be_read(tmp_path):
    root = verdicts.write_catalog(tmp_path)
    (root / "known" / "pairs.parquet").write_bytes(b"PAR1")
    catalog = open_catalog(root)
    view, problems = read_judge_view({}, catalog)
    assert (view.sources, problems) == ((), ())
    ticket = start_judging(catalog, checked_judge_view(catalog, **{**ASKED, "sources": []}))
    assert ticket.wait(60)
    assert ticket.state == "failed"
    assert "pairs.parquet" in ticket.problem


def test_link_warning():
    found = judged_of(judgement())
    assert recipes_judged(found.judgement) == f"{'a' * 12}.{'b' * 12}"
    assert judge_link_warning(VIEW, found) == ""
    assert judge_link_warning(replace(VIEW, recipes=recipes_judged(found.judgement)), found) == ""
    assert "the data or the method changed since" in judge_link_warning(replace(VIEW, recipes="x.y"), found)
    assert judge_link_warning(replace(VIEW, recipes="x.y", align="center"), found) == "", "the user chose another"


def test_steps_of_the_controls_hold_what_the_link_asks_for():
    assert budget_steps(100) == list(BUDGETS)
    assert 42 in budget_steps(42)
    assert neighbor_steps(11)["11"] == 11
    assert list(neighbor_steps(11).values()) == sorted(neighbor_steps(11).values())


def test_file_stem():
    assert file_stem(VIEW) == "latent-against-raw-toy-alpha"
    assert "/" not in file_stem(replace(VIEW, context="../<b>"))


# ---------------------------------------------------------------- the work


def test_judging(catalog):
    ticket = start_judging(catalog, VIEW)
    assert ticket.wait(60)
    found = ticket.result
    assert found.is_declared
    assert found.declared is found.judgement
    assert sides(found) == ("raw", "latent")
    assert found.judgement.primary.test.n_units == 22


def test_another_view_stands_beside_the_declared_one(catalog):
    view = replace(VIEW, k=3, budget=20)
    ticket = start_judging(catalog, view)
    assert ticket.wait(60)
    found = ticket.result
    assert not found.is_declared
    assert found.judgement.primary.k == 3
    assert found.declared.primary.k == 10
    assert found.declared_view == replace(VIEW, budget=20), "the budget is the reader's own, and no choice of method"
    assert found.declared.known_hits.budget == 20


def test_two_sessions_share_one_judgement(catalog, monkeypatch):
    n_calls, go, judge = [], threading.Event(), judged.shared_judgement

    def slow(*arguments, **options):
        n_calls.append(1)
        assert go.wait(60)
        return judge(*arguments, **options)

    monkeypatch.setattr(judged, "shared_judgement", slow)
    one, other = (start_judging(catalog, VIEW) for _ in range(2))
    go.set()
    assert one.wait(60)
    assert other.wait(60)
    assert one.result is other.result
    assert len(n_calls) == 1


def test_what_can_not_be_judged_is_one_sentence(tmp_path):
    catalog = open_catalog(verdicts.write_catalog(tmp_path, names=verdicts.NAMES[:30]))
    ticket = start_judging(catalog, VIEW)
    assert ticket.wait(60)
    assert ticket.state == "failed"
    assert "\n" not in ticket.problem
    assert "perturbations" in ticket.problem


def test_looked():
    looked = Looked()
    one = judged_of(judgement(verdict="worse"))
    assert looked.add(one) == looked.add(one) == 1
    other = judged_of(judgement(), view=replace(VIEW, budget=50), declared=one.judgement)
    assert looked.add(other) == 2, "another budget is another look"
    elsewhere = judged_of(judgement(), view=replace(VIEW, dataset="another"))
    assert looked.add(replace(elsewhere, declared_view=elsewhere.view)) == 1, "datasets are counted apart"
    assert looked.words("toy") == {"worse": 1, "worth it": 1}


# ---------------------------------------------------------------- tables


def test_forest_table():
    table = forest_table(judgement())
    assert table.schema == pl.Schema(FOREST_SCHEMA)
    assert table["kind"].to_list() == ["verdict", "source", "seed", "other simple", "placebo", "placebo"]
    assert table["label"].to_list() == [
        "all sources: latent − raw", "Pairs: latent − raw", "latent-seed-1 − raw", "latent − pca", "latent − noise",
        "latent − norm",
    ]  # fmt: skip
    first = table.row(0, named=True)
    assert (first["estimate"], first["low"], first["high"]) == pytest.approx((0.1, 0.07, 0.13))
    assert table["q"].to_list() == [None, 0.01, None, None, None, None]
    assert forest_table(judgement(verdict="locked")).height == 0


def test_source_table():
    table = source_table(judgement())
    assert table["side"].to_list() == ["simple", "learned"]
    assert table["both"].to_list() == [0.3, 0.4]
    assert table["matched"].to_list() == [0.12, 0.13]


def test_group_table_begins_with_large_groups_that_differ_much():
    table = group_table(judgement())
    assert table["group"].to_list() == ["Pairs: b", "Pairs: a", "Pairs: c"]
    units = judgement().units.with_columns(members=pl.Series([12, 2, 4]))
    assert group_table(judgement(units=units))["group"].to_list() == ["Pairs: a", "Pairs: b", "Pairs: c"]


def test_plan_table():
    table = plan_table(with_test(flip(0.01, 0.05)))
    # 30 · (.07 / .05)² = 58.8
    line = table.filter(pl.col("difference") == 0.05).row(0, named=True)
    assert (line["groups needed"], line["more than there are"]) == (59, 29)
    # 30 · (.07 / .02)² = 367.5 is more than the 110 perturbations there are.
    assert table["difference"].to_list() == [0.05, 0.1, 0.2]
    # 14.7 and 3.7 would be as precise, but a verdict takes 20.
    assert table["groups needed"].to_list() == [59, 20, 20]
    assert table["more than there are"].to_list() == [29, 0, 0]
    many = plan_table(replace(with_test(flip(0.01, 0.05)), n_perturbations=10_000))
    assert many["difference"].to_list() == list(PLANNED)
    few = plan_table(with_test(flip(0.01, 0.05, n_units=4)))
    assert few.row(-1) == (0.2, 20, 16)
    assert plan_table(replace(with_test(flip(0.01, 0.5)), n_perturbations=60)).height == 0
    assert table["more than there are"].is_sorted(descending=True)
    assert plan_table(with_test(flip(0.0, 0.0, n_discordant=0))).height == 0


def test_json_is_what_the_command_line_prints(root, catalog, capsys):
    view = replace(VIEW, align="center", k=4, budget=30)
    ticket = start_judging(catalog, view)
    assert ticket.wait(60)
    arguments = ["judge", str(root / "toy"), "--simple", "raw", "--learned", "latent", "--align", "center", "-k", "4"]
    assert main([*arguments, "--context", "alpha", "--budget", "30", "--json"]) in (0, None)
    passport = passport_of(catalog.dataset("toy"), "alpha")
    printed = json.loads(capsys.readouterr().out)
    assert json.loads(judgement_json(ticket.result.judgement, ticket.result.view, passport=passport)) == printed
    assert printed["passport"]["cell_system"] == "alpha cells"


def test_json_without_nan(catalog):
    found, passport = judgement(), passport_of(catalog.dataset("toy"), "alpha")
    text = judgement_json(replace(found, primary=replace(found.primary, chance=math.inf)), VIEW, passport=passport)
    assert json.loads(text)["primary"]["chance"] is None
