"""The view of a list: read from a link, checked, written back; and the work behind it."""

from dataclasses import replace
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import listed_toys
import pytest
from hypothesis import given
from hypothesis import strategies as st
from listed_toys import made_of, view_of

from explorer import proposed
from explorer.errors import InputError
from explorer.proposed import (
    COMPLETENESS_OPTIONS,
    MODE_OPTIONS,
    budget_or_usual,
    checked_list_view,
    chosen_contexts,
    chosen_row,
    clicked_row,
    first_list_view,
    found_evidence,
    has_cautions,
    interest_text,
    known_interest,
    link_warnings,
    linked,
    list_link,
    mode_name,
    page_links,
    pair_option,
    pair_options,
    read_interest,
    read_list_view,
    source_names,
    start_evidence,
    start_list,
)
from explorer.work import Workshop

GOOD = {
    "dataset": "toy", "context": "alpha", "others": ["beta"], "simple": "raw", "learned": "latent", "align": "none",
    "mode": "discover", "budget": 50, "sources": ["Pairs"], "completeness": (0.7, 0.5, 0.4), "active": True,
    "trusted": False, "holds": False, "interest": "",
}  # fmt: skip


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    return listed_toys.open_toy(tmp_path_factory.mktemp("proposed"))


@pytest.fixture(autouse=True)
def _own_workshop(monkeypatch):
    monkeypatch.setattr(proposed, "shared_workshop", Workshop())


# ---------------------------------------------------------------- links


def test_nothing_is_the_default(catalog):
    view, problems = read_list_view({}, catalog)
    assert problems == ()
    assert view == view_of(catalog)
    assert view.plan.others == ("beta",)
    assert view.plan.sources == ("Pairs",)
    assert not view.plan.only_trusted, "the card distrusts nobody"


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"mode": "compare", "budget": 1},
        {"others": (), "sources": (), "only_active": False},
        {"context": "beta", "others": ("alpha",), "sources": ("Pairs", "Sets")},
        {"completeness": (0.3, 0.2, 0.1), "only_holding": True, "only_trusted": True, "budget": 2_000},
        {"interest": ("G001", "a name, with blanks", "<b>"), "align": "center", "learned": "latent-seed-1"},
    ],
)
def test_a_link_gives_back_the_view(catalog, changes):
    view = replace(view_of(catalog, **changes), recipes="abc.def")
    read, problems = read_list_view(list_link(view), catalog)
    assert read == view
    assert problems == ()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("dataset", "tyo", "did you mean 'toy'"),
        ("context", "alhpa", "did you mean 'alpha'"),
        ("others", "gamma,beta", "unknown contexts 'gamma': showing beta"),
        ("left", "rwa", "did you mean 'raw'"),
        ("right", "<b>", "unknown learned representation"),
        ("align", "centre", "did you mean 'center'"),
        ("mode", "both", "unknown mode 'both'"),
        ("budget", "0", "expected a whole number from 1 to 2,000"),
        ("budget", "12.5", "'12.5'"),
        ("budget", "9" * 40, "showing 50 instead"),
        ("sources", "Parirs", "unknown sources 'Parirs': showing Pairs"),
        ("completeness", "71/50/40 %", "did you mean '70/50/40 %'"),
        ("active", "maybe", "unknown choice of active ones"),
        ("trusted", "1", "unknown choice of trusted ones"),
        ("holds", "YES", "did you mean 'yes'"),
    ],
)
def test_what_can_not_be_used_falls_back_and_is_said(catalog, name, value, said):
    view, problems = read_list_view({name: value}, catalog)
    assert view == view_of(catalog)
    assert len(problems) == 1
    assert said in problems[0]
    assert "\n" not in problems[0]


PARAMETERS = ["dataset", "others", "budget", "sources", "interest", "completeness", "mode", "recipes"]


@given(parameters=st.dictionaries(st.sampled_from(PARAMETERS), st.text()))
def test_any_link_makes_a_view(catalog, parameters):
    view, _ = read_list_view(parameters, catalog)
    again, problems = read_list_view(list_link(view), catalog)
    assert problems == ()
    assert again.plan == view.plan


def test_recipes_of_another_time_are_said_to_differ(catalog):
    made = made_of(catalog)
    link, _ = read_list_view(linked(made), catalog)
    assert link_warnings(link, made) == []
    old = replace(link, recipes="other")
    assert "the data or the method changed since this link was made" in link_warnings(old, made)[0]
    assert link_warnings(replace(old, plan=replace(old.plan, budget=3)), made) == [], "the user changed it himself"


def test_a_long_list_of_interest_is_not_all_in_the_link(catalog):
    names = tuple(f"GENE{number:04}" for number in range(2_000))
    made = replace(made_of(catalog), view=view_of(catalog, interest=names))
    warned = link_warnings(made.view, made)
    assert warned[0].startswith("only the first ")
    assert len(linked(made)["interest"]) < 8_000


def test_page_links_lead_to_the_same_maps(catalog):
    plan = view_of(catalog).plan
    links = page_links(plan, "a&b <c>")
    assert [urlsplit(address).path for _, address in links] == ["../explore/", "../contexts/"]
    for _, address in links:
        query = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
        assert query["query"] == "a&b <c>"
        assert (query["dataset"], query["context"], query["left"], query["right"]) == ("toy", "alpha", "raw", "latent")


# ---------------------------------------------------------------- what a browser sends


def test_a_view_of_controls(catalog):
    assert checked_list_view(catalog, **GOOD) == view_of(catalog)
    more = GOOD | {"budget": 7.0, "interest": "G001\n\n G002 ", "mode": "compare", "others": []}
    plan = checked_list_view(catalog, **more).plan
    assert (plan.budget, plan.interest, plan.mode, plan.others) == (7, ("G001", "G002"), "compare", ())


@pytest.mark.parametrize("name", ["dataset", "context", "others", "simple", "learned", "align", "mode", "sources"])
@pytest.mark.parametrize("value", [999_999, "<img src=x>", [["x"]], ["nobody"], {"a": 1}])
def test_a_forged_choice_is_refused(catalog, name, value):
    with pytest.raises(InputError, match="unknown"):
        checked_list_view(catalog, **(GOOD | {name: value}))


@pytest.mark.parametrize("value", [0, -1, 2_001, 1.5, float("nan"), "50", None, True, [50]])
def test_a_forged_budget_is_refused(catalog, value):
    with pytest.raises(InputError, match="whole number from 1 to 2,000"):
        checked_list_view(catalog, **(GOOD | {"budget": value}))
    assert budget_or_usual(value) == 50


@pytest.mark.parametrize("value", ["70/50/40 %", (0.7, 0.5), (0.7, 0.5, float("nan")), None, 0.7])
def test_a_forged_completeness_is_refused(catalog, value):
    with pytest.raises(InputError, match="choose one of '90/80/70 %'"):
        checked_list_view(catalog, **(GOOD | {"completeness": value}))


def test_holding_elsewhere_needs_an_elsewhere(catalog):
    with pytest.raises(InputError, match="no other context is counted in"):
        checked_list_view(catalog, **(GOOD | {"holds": True, "others": []}))


@pytest.mark.parametrize(
    ("cells", "row"),
    [
        ([SimpleNamespace(row="3", column="first", value="x")], 3),
        ([SimpleNamespace(row=0, column="first", value="x")], 0),
        ([SimpleNamespace(row="10", column="first", value="x")], None),
        ([SimpleNamespace(row="-1")], None),
        ([SimpleNamespace(row="9" * 50)], None),
        ([SimpleNamespace()], None),
        ([], None),
        (None, None),
        ("3", None),
        ([SimpleNamespace(row="1"), SimpleNamespace(row="2")], None),
    ],
)
def test_a_click_names_a_row_or_none(cells, row):
    assert clicked_row(cells, 10) == row


@pytest.mark.parametrize(("value", "row"), [(3, 3), (10, 0), (-1, 0), (True, 0), ("3", 0), (None, 0)])
def test_a_row_of_a_menu(value, row):
    assert chosen_row(value, 10) == row


# ---------------------------------------------------------------- perturbations of interest


def test_interest_is_read_by_line_first():
    assert read_interest(" A \n\nB C\nA\n") == ("A", "B C")
    names = ("A", "B C", "D", "LOWER")
    assert known_interest(read_interest("B C\nA, D; lower"), names) == (("B C", "A", "D", "LOWER"), "")


def test_unknown_names_are_said_with_the_nearest():
    found, said = known_interest(("TP53, TP35", "zzz"), ("TP53", "MDM2"))
    assert found == ("TP53",)
    assert said == ("2 of 3 perturbations of interest are not in both maps: 'TP35' (did you mean 'TP53'?); 'zzz'")
    assert "and 2 more" in known_interest([f"no{number}" for number in range(5)], ("A",))[1]


@given(st.lists(st.text(min_size=1).map(str.strip).filter(lambda name: name and len(name.splitlines()) == 1)))
def test_every_name_on_its_own_line_is_found(names):
    found, said = known_interest(read_interest("\n".join(names)), names)
    assert set(found) == set(names)
    assert said == ""


# ---------------------------------------------------------------- menus


def test_menus(catalog):
    view = view_of(catalog)
    assert chosen_contexts(catalog, view, "alpha") == (("beta",), ("beta",))
    assert chosen_contexts(catalog, view, "beta") == (("alpha",), ("alpha",))
    assert chosen_contexts(catalog, view_of(catalog, others=()), "alpha") == (("beta",), ())
    assert chosen_contexts(catalog, view, ["forged"])[0] == ("beta",)
    assert source_names(catalog.dataset("toy")) == ("Pairs", "Sets"), "pairs first"
    assert [mode_name(mode) for mode in MODE_OPTIONS.values()] == list(MODE_OPTIONS)
    assert all(len(shares) == 3 for shares in COMPLETENESS_OPTIONS.values())
    assert not has_cautions(catalog, view)
    assert interest_text(view_of(catalog, interest=("A", "B C")).plan) == "A\nB C"


def test_another_dataset_begins_with_its_default(catalog):
    view = view_of(catalog, budget=7)
    assert first_list_view("toy", view, catalog) is view
    with pytest.raises(InputError, match="unknown dataset"):
        first_list_view("other", view, catalog)


def test_pairs_of_a_menu(catalog):
    made = made_of(catalog)
    options = pair_options(made)
    assert list(options.values()) == list(range(made.found.rows.height))
    assert options[pair_option(made, 3)] == 3
    assert pair_options(made_of(catalog, mode="compare")) == {}


# ---------------------------------------------------------------- the work


def test_a_list_is_made_and_its_evidence_gathered(catalog):
    ticket = start_list(catalog, view_of(catalog, budget=5))
    assert ticket.wait(60)
    made = ticket.result
    assert made.found.rows.height == 5
    assert found_evidence(catalog, made) is None
    evidence = start_evidence(catalog, made)
    assert evidence.wait(60)
    assert evidence.problem == ""
    assert found_evidence(catalog, made) is evidence.result
    assert proposed.at_first(evidence, 0.0) is evidence.result
    assert proposed.at_first(None, 0.0) is None
    assert evidence.result.table.select("first", "second").equals(made.found.rows.select("first", "second"))


def test_interest_is_looked_up_in_the_maps(catalog):
    ticket = start_list(catalog, view_of(catalog, interest=("g001, G999",), budget=3))
    assert ticket.wait(60)
    made = ticket.result
    assert made.found.plan.interest == ("G001",)
    assert made.view.plan.interest == ("g001, G999",), "as it was typed"
    assert "'G999'" in made.unknown
    assert all("G001" in pair for pair in made.found.rows.select("first", "second").rows())


def test_nobody_of_interest_is_one_sentence(catalog):
    ticket = start_list(catalog, view_of(catalog, interest=("nobody",)))
    assert ticket.wait(60)
    assert ticket.result is None
    assert ticket.problem.startswith("no perturbation of interest is left to make a list of: 1 of 1")
