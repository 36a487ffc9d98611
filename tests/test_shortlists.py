"""Lists for the data sets on offer: planned, checked, made once, filtered, frozen with all that they were made of."""

import math
import re
from dataclasses import replace
from datetime import UTC, datetime
from itertools import combinations

import polars as pl
import pytest
import toys

from explorer import shortlists
from explorer.catalog import open_catalog
from explorer.errors import InputError
from explorer.frozen import open_key
from explorer.gathered_evidence import inactive_names
from explorer.relationships import Relationships
from explorer.shortlist import ListSide, make_shortlist
from explorer.shortlist_json import list_json
from explorer.shortlists import (
    COMPARE,
    DISCOVER,
    check_list_plan,
    default_list_plan,
    filter_words,
    freeze_list,
    other_names,
    shared_evidence,
    shared_list,
    with_evidence,
)

DATE = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
MODULES = [toys.NAMES[start : start + toys.MODULE_SIZE] for start in range(0, 30, toys.MODULE_SIZE)]
# Three of the ten pairs of every module are known, so that four members are annotated.
LISTED = [
    pair for module in MODULES for pair in ((module[0], module[1]), (module[0], module[2]), (module[2], module[3]))
]
HALF = Relationships.from_pairs("half", *zip(*LISTED, strict=True))


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    return open_catalog(toys.write_catalog(tmp_path_factory.mktemp("catalog")))


@pytest.fixture(scope="module")
def plan(catalog):
    return replace(default_list_plan(catalog, "toy"), sources=(), budget=12)


@pytest.fixture(scope="module")
def found(catalog, plan):
    return shared_list(catalog, plan, relationships=(HALF,))


def test_the_default_plan_is_the_card_s(catalog):
    made = default_list_plan(catalog, "toy")
    assert (made.mode, made.dataset, made.context, made.others) == (DISCOVER, "toy", "alpha", ("beta",))
    assert (made.simple, made.learned, made.align) == ("raw", "latent", "center")
    assert made.sources == ("Pairs",)
    assert other_names(catalog, made) == ("beta",)
    assert check_list_plan(catalog, made) == made


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mode": "discovr"}, "unknown mode 'discovr': did you mean 'discover'"),
        ({"budget": 0}, "a list of '0' pairs can't be made: choose a whole number from 1 to 2,000"),
        ({"budget": True}, "a list of 'True' pairs"),
        ({"simple": "rawr"}, "unknown representation 'rawr': did you mean 'raw'"),
        ({"learned": "raw", "mode": COMPARE}, "'raw' can't be compared with itself: choose two representations"),
        ({"completeness": ()}, "expected one to five shares"),
        ({"completeness": (0.5, 0.0)}, "each above 0 and at most 1"),
        ({"completeness": (math.nan,)}, "each above 0 and at most 1"),
        ({"align": "centre"}, "center"),
        ({"context": "alfa"}, "unknown context 'alfa': did you mean 'alpha'"),
        ({"interest": tuple(str(n) for n in range(6_000))}, "6,000 perturbations of interest, expected at most 5,000"),
        ({"seed": -1}, "seed"),
    ],
)
def test_a_plan_that_can_t_be_is_one_sentence(catalog, plan, changes, message):
    with pytest.raises(InputError, match=re.escape(message)) as error:
        check_list_plan(catalog, replace(plan, **changes))
    assert "\n" not in str(error.value)


def test_an_unknown_other_context_is_named_with_the_nearest(catalog, plan):
    with pytest.raises(InputError, match="unknown context 'betta': did you mean 'beta'"):
        shared_list(catalog, replace(plan, others=("betta",)))


def test_the_list_is_that_of_the_front_door(catalog, plan, found):
    from explorer.catalog import shared_map
    from explorer.known import known_pairs

    sides = [
        ListSide(
            context,
            *(shared_map(catalog.dataset("toy"), context, name, alignment="center") for name in ("raw", "latent")),
        )
        for context in ("alpha", "beta")
    ]
    known = known_pairs(HALF, sides[0].simple.names)
    alone = make_shortlist(sides[0], sides[1:], known=[known], budget=12)
    assert found.rows.equals(alone.rows)
    assert found.expectation == alone.expectation
    # Modules are the same in both maps, so that nearly all that is listed is of one module.
    pairs = {pair for module in MODULES for pair in combinations(module, 2)}
    listed = found.rows.select("first", "second").rows()
    assert sum(pair in pairs for pair in listed) >= 10
    assert not {tuple(sorted(pair)) for pair in LISTED} & set(listed)


def test_a_second_ask_makes_nothing(catalog, plan, found, monkeypatch):
    monkeypatch.setattr(shortlists, "make_shortlist", lambda *_args, **_options: pytest.fail("made again"))
    assert shared_list(catalog, plan, relationships=(HALF,)).rows is found.rows
    monkeypatch.undo()
    other = shared_list(catalog, replace(plan, budget=5), relationships=(HALF,))
    assert other.rows.equals(found.rows.head(5))


def test_what_is_known_decides_and_is_named(catalog, plan, found):
    assert list(found.sources) == ["half"]
    nothing = shared_list(catalog, plan)
    assert math.isnan(nothing.expectation.known_rate)
    assert all(math.isnan(hits) for hits in nothing.expectation.expected)
    assert any("nothing is known" in note for note in nothing.notes)
    # However few pairs a source knows, they are not listed again; of so few no rate is made.
    own = shared_list(catalog, replace(plan, sources=("Pairs",)))
    assert own.shortlist.n_known == 12
    top = found.rows.row(0, named=True)
    one = Relationships.from_pairs("mine", [top["first"]], [top["second"]])
    mine = shared_list(catalog, plan, relationships=(one,))
    assert (top["first"], top["second"]) not in set(mine.rows.select("first", "second").rows())
    assert any("1 pair is known and not listed again, too few to say" in note for note in mine.notes)
    assert math.isnan(mine.expectation.known_rate)
    away = Relationships.from_pairs("away", ["X"], ["Y"])
    assert any(
        "of no use: 'away' relates 0 perturbations" in note
        for note in shared_list(catalog, plan, relationships=(away,)).notes
    )
    with pytest.raises(InputError, match="unknown source 'Pars': did you mean 'Pairs'"):
        shared_list(catalog, replace(plan, sources=("Pars",)))


def test_one_map_alone_can_be_asked(catalog, plan):
    alone = shared_list(catalog, replace(plan, learned="raw"), relationships=(HALF,))
    assert set(alone.rows["proposer"]) == {"both"}
    assert any("'raw' alone is asked" in note for note in alone.notes)
    evidence = shared_evidence(catalog, alone, relationships=(HALF,)).table
    assert evidence["simple rank"].equals(evidence["learned rank"].alias("simple rank"))


def test_filters_leave_pairs_out_and_say_so(tmp_path):
    root = toys.write_active_catalog(
        tmp_path, {"cautions": [{"text": "mostly filling", "perturbations": ["both-0"]}], "relationships": None}
    )
    catalog = open_catalog(root)
    plan = replace(default_list_plan(catalog, "toy"), budget=20, others=())
    simple, learned = (shortlists.Place("toy", "alpha", name, plan.align) for name in ("raw", "latent"))
    inactive, _ = inactive_names(catalog, simple, learned)
    assert inactive
    every = shared_list(catalog, replace(plan, only_active=False, only_trusted=False))
    some = shared_list(catalog, plan)
    names = set(some.rows["first"]) | set(some.rows["second"])
    assert not names & (inactive | {"both-0"})
    assert any(f"{len(inactive)} perturbations judged inactive in both maps" in note for note in some.notes)
    assert any("the card says to distrust (mostly filling)" in note for note in some.notes)
    assert every.shortlist.n_candidates > some.shortlist.n_candidates
    wished = shared_list(catalog, replace(plan, interest=("both-1", "both-2")))
    assert all({"both-1", "both-2"} & set(pair) for pair in wished.rows.select("first", "second").iter_rows())
    with pytest.raises(
        InputError, match="none of the perturbations of interest is in the maps, 'both1' for one: did you"
    ):
        shared_list(catalog, replace(plan, interest=("both1",)))
    assert filter_words(wished.plan) == [
        "not those judged inactive in both maps",
        "not those that the card says to distrust",
        "one of 2 perturbations of interest: 'both-1', 'both-2'",
    ]


def test_pairs_that_must_hold_elsewhere(catalog, plan):
    from explorer.gathered_evidence import held_pairs

    simple, learned = (shortlists.Place("toy", "alpha", name, plan.align) for name in ("raw", "latent"))
    beta = shortlists.Place("toy", "beta", "raw", plan.align)
    holding, _ = held_pairs(catalog, simple, learned, others=(beta,), relationships=(HALF,))
    if not holding:
        with pytest.raises(InputError, match="no pair is left under these filters"):
            shared_list(catalog, replace(plan, only_holding=True), relationships=(HALF,))
        return
    made = shared_list(catalog, replace(plan, only_holding=True), relationships=(HALF,))
    assert set(made.rows.select("first", "second").rows()) <= holding


def test_evidence_stands_beside_its_own_pair(catalog, found):
    evidence = shared_evidence(catalog, found, relationships=(HALF,))
    rows = with_evidence(found.rows, evidence)
    assert rows.height == found.rows.height
    assert rows.select("first", "second").equals(found.rows.select("first", "second"))
    assert with_evidence(found.rows, None) is found.rows
    assert rows["simple rank"].null_count() == 0
    assert rows["seeds"].unique().to_list() == [2]


def test_a_frozen_list_says_what_it_was_made_of(catalog, found):
    evidence = shared_evidence(catalog, found, relationships=(HALF,))
    frozen, key = freeze_list(found, evidence, date=DATE)
    assert key is None
    header = frozen.header
    assert header["recipes"] == dict(found.fingerprints)
    assert set(header["data"]) == set(found.fingerprints.values())
    assert header["known"] == dict(found.sources)
    assert (header["seed"], header["budget"], frozen.date[:10]) == (0, 12, "2026-03-04")
    assert frozen.expected == pytest.approx(
        dict(zip((0.7, 0.5, 0.4), found.expectation.expected, strict=True)), abs=1e-3
    )
    assert frozen.rows["known rate"].to_list() == pytest.approx(found.rows["known rate"].to_list(), abs=1e-5)
    assert "alpha cells" in header["conditions"]["alpha"]
    # The same list frozen again is the same file, and another date another.
    assert freeze_list(found, evidence, date=DATE)[0].digest == frozen.digest
    assert freeze_list(found, evidence, date=DATE.replace(year=2027))[0].digest != frozen.digest


def test_a_comparison_is_frozen_blind(catalog, plan):
    made = shared_list(catalog, replace(plan, mode=COMPARE), relationships=(HALF,))
    assert made.shortlist is None
    evidence = shared_evidence(catalog, made, relationships=(HALF,))
    frozen, key = freeze_list(made, evidence, date=DATE, salt=bytes(32))
    assert frozen.rows.columns == ["row", "first", "second"]
    assert set(frozen.pairs) == set(made.rows.select("first", "second").rows())
    assert frozen.key_sha256 == key.sha256
    assert frozen.depth == made.census.depth
    assert "simple rank" not in str(frozen.header)
    # The key holds both the places in the two lists and the evidence.
    sealed, _ = open_key(frozen, key, results_digest="0" * 64, complete=True, date=DATE)
    assert {"proposer", "simple place", "learned place", "simple rank", "learned rank"} <= set(sealed.columns)
    assert not [name for name in sealed.columns if name.endswith("_right")]
    first = sealed.filter(pl.col("proposer") == "both").row(0, named=True)
    own = made.rows.filter((pl.col("first") == first["first"]) & (pl.col("second") == first["second"]))
    assert own["simple rank"].item() == first["simple place"]
    # Another salt, another order: the order tells nothing.
    other, _ = freeze_list(made, evidence, date=DATE, salt=bytes([1] * 32))
    assert other.pairs != frozen.pairs
    assert set(other.pairs) == set(frozen.pairs)
    # What is printed is as blind.
    told = list_json(made, evidence)
    assert {name for pair in told["pairs"] for name in pair} == {"first", "second"}
    assert [(pair["first"], pair["second"]) for pair in told["pairs"]] == sorted(frozen.pairs)
    assert "proposer" not in str({key: value for key, value in told.items() if key != "notes"})


def test_json_says_all_of_a_list(catalog, found):
    told = list_json(found)
    assert [pair["first"] for pair in told["pairs"]] == found.rows["first"].to_list()
    assert told["mode"] == "discover"
    assert told["plan"]["budget"] == 12
    assert told["expectation"]["n_pairs"] == found.rows.height
    assert [line["completeness"] for line in told["expectation"]["expected"]] == [0.7, 0.5, 0.4]
    assert told["n_known"] == len(LISTED)


def test_progress_may_cancel(catalog, plan):
    def stop(what, share):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shared_list(catalog, replace(plan, budget=7), relationships=(HALF,), progress=stop)
    assert isinstance(shared_list(catalog, replace(plan, budget=7), relationships=(HALF,)).rows, pl.DataFrame)


def test_a_combination_is_not_listed_with_its_own_parts():
    found = shortlists._with_a_part_in_common(["A", "A+B", "B", "B+C", "D", "A+ctrl"], ["ctrl"])
    assert found == {("A", "A+B"), ("A+B", "B"), ("A+B", "B+C"), ("B", "B+C")}
    assert shortlists._with_a_part_in_common(["A", "B"], []) == frozenset()
