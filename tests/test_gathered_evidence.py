"""Evidence for the data sets on offer: the numbers of the library, made once and kept, and notes for what is not."""

import os
import shutil
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import toys
import verdicts
from builders import cosines

from explorer import context_reports, gathered_evidence
from explorer.catalog import (
    open_catalog,
    shared_activity,
    shared_gene_sets_in,
    shared_map,
    shared_moments,
    shared_screen,
)
from explorer.context_reports import Place, labels_of, shared_report
from explorer.contexts import HOLDS
from explorer.decoys import technical_fdr
from explorer.errors import InputError
from explorer.evidence import resampled_support, shared_gene_sets
from explorer.gathered_evidence import (
    NO_EDGE,
    activity_of,
    evidence_schema,
    gather_evidence,
    held_pairs,
    inactive_names,
)
from explorer.keeping import Shared
from explorer.relate import neighborhoods
from explorer.relationships import Relationships

SIMPLE = Place("toy", "alpha", "raw", "none")
LEARNED = replace(SIMPLE, representation="latent")
BETA = replace(SIMPLE, context="beta")
# Two of a module, two of different ones, one turned round, and one that beta has not.
PAIRS = (("G000", "G001"), ("G000", "G050"), ("G007", "G006"), ("G022", "G100"), ("G108", "G109"))
FEW = {"n_resamples": 4}


def forget(monkeypatch):
    """Do as a new process does."""
    for module in (gathered_evidence, context_reports):
        monkeypatch.setattr(module, "_remembered", Shared(module.MOST_REMEMBERED))


@pytest.fixture(autouse=True)
def _nothing_remembered(monkeypatch):
    forget(monkeypatch)


def table_of(pairs=PAIRS):
    return pl.DataFrame(pairs, schema={"first": pl.String, "second": pl.String}, orient="row")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = verdicts.write_catalog(tmp_path_factory.mktemp("evidence") / "catalog")
    # A second data set, whose representations have other names.
    elsewhere = root.parent / "elsewhere"
    own = {
        "profile": {"kind": "simple", "source": "X"},
        "net": {"kind": "learned", "source": "latent_{context}.parquet"},
    }
    verdicts.write_catalog(elsewhere, {"representations": own, "defaults": {"align": "none"}})
    # Other measurements, or it would be a copy.
    for path in (elsewhere / "toy").glob("*.parquet"):
        table = pl.read_parquet(path)
        numbers = [name for name, kind in table.schema.items() if kind.is_float()]
        noise = np.random.default_rng(len(numbers)).normal(scale=0.3, size=(table.height, len(numbers)))
        moved = pl.DataFrame((table.select(numbers).to_numpy() + noise).astype(np.float32), schema=numbers)
        table.with_columns(moved.get_columns()).write_parquet(path)
    shutil.move(elsewhere / "toy", root / "atlas")
    return root


@pytest.fixture
def catalog(folder):
    return open_catalog(folder)


def gather(catalog, pairs=PAIRS, **options):
    given = {"simple": SIMPLE, "learned": LEARNED, "others": (BETA,), **FEW} | options
    return gather_evidence(catalog, table_of(pairs), **given)


def map_at(catalog, place):
    return shared_map(catalog.dataset(place.dataset), place.context, place.representation, alignment=place.align)


def values(found, column):
    return found.table[column].to_list()


# Numbers


@pytest.mark.parametrize(
    ("column", "place"),
    [
        ("simple", SIMPLE),
        ("learned", LEARNED),
        ("beta: simple", BETA),
        ("beta: learned", replace(LEARNED, context="beta")),
    ],
)
def test_similarities_and_ranks_are_those_of_a_loop(catalog, column, place):
    found = gather(catalog)
    made = map_at(catalog, place)
    table = np.round(cosines(made.profiles), 6)
    for line, (first, second) in zip(found.table.iter_rows(named=True), PAIRS, strict=True):
        similarity, rank = (line[f"{column} {what}"] for what in ("similarity", "rank"))
        if first not in made or second not in made:
            assert similarity is rank is None
            continue
        one, other = made.position(first), made.position(second)
        assert similarity == pytest.approx(table[one, other], abs=2e-6)
        # Nothing is tied here: one more than those that are nearer, for either partner.
        nearer = [sum(table[row, place] > table[one, other] for place in range(len(table)) if place != row)
                  for row in (one, other)]  # fmt: skip
        assert rank == 1 + max(nearer)


def test_labels_are_those_of_the_reports_and_other_pairs_are_no_edges(catalog):
    found = gather(catalog)
    for side, place in (("simple", SIMPLE), ("learned", LEARNED)):
        there = replace(place, context="beta")
        report = shared_report(catalog, place, [there], k=10)
        labels = {(line["first"], line["second"]): word for line, word in
                  zip(report.edges.iter_rows(named=True), report.labels["label"], strict=True)}  # fmt: skip
        expected = [
            labels.get((min(pair), max(pair)), NO_EDGE) if set(pair) <= set(report.names) else None for pair in PAIRS
        ]
        assert values(found, f"beta: {side}") == expected
        assert expected[-1] is None
        assert expected[1] == NO_EDGE
        assert expected[0] != NO_EDGE
    assert any("1 pair not judged in beta, since a perturbation is not in all contexts" in note for note in found.notes)


def test_seeds_that_agree_are_counted(catalog):
    found = gather(catalog)
    expected = []
    for first, second in PAIRS:
        count = 0
        for name in ("latent", "latent-seed-1"):
            made = map_at(catalog, replace(SIMPLE, representation=name))
            near = neighborhoods(made, k=10).rows
            one, other = made.position(first), made.position(second)
            count += other in near[one] or one in near[other]
        expected.append(count)
    assert values(found, "seeds agreeing") == expected
    assert values(found, "seeds") == [2] * len(PAIRS)
    assert max(expected) == 2
    assert min(expected) < 2
    # A seed is as good as another: its family is the same.
    other = gather(catalog, learned=replace(SIMPLE, representation="latent-seed-1"))
    assert values(other, "seeds agreeing") == expected


def test_support_noise_and_gene_sets_are_those_of_the_library(catalog):
    found = gather(catalog, seed=3)
    dataset = catalog.dataset("toy")
    screen = shared_screen(dataset, "alpha")
    for side, place in (("simple", SIMPLE), ("learned", LEARNED)):
        moments = shared_moments(dataset, "alpha", place.representation)
        support = resampled_support(screen, place.representation, PAIRS, moments=moments, n_resamples=4, seed=3)
        assert values(found, f"{side} support") == support.share.tolist()
        noise = technical_fdr(screen, map_at(catalog, place), moments=moments, seed=3)
        expected = noise.fdr(found.table[f"{side} similarity"].to_numpy())
        assert values(found, f"{side} technical FDR") == [None if np.isnan(one) else one for one in expected]
        assert (noise.reason is None) == (values(found, f"{side} technical FDR")[0] is not None)
    assert any(
        note.endswith("support is the share of 4 resamples of the guides in which a pair is an edge")
        for note in found.notes
    )
    maps = [map_at(catalog, place) for place in (SIMPLE, LEARNED)]
    index = shared_gene_sets_in(dataset, maps[0].names)
    sets = shared_gene_sets(maps, PAIRS, index, k=10)
    assert values(found, "shared gene sets") == list(sets)
    assert sets[0].startswith("module 0 (4 and 4 of 10)")
    assert sets[1] == ""


def test_the_fdr_against_technical_noise_is_looked_up(tmp_path):
    catalog = open_catalog(toys.write_active_catalog(tmp_path, n_controls=400))
    place = replace(SIMPLE, align="center")
    pairs = [("both-0", "both-1"), ("both-0", "left-1"), ("neither-0", "neither-1")]
    found = gather(catalog, pairs, simple=place, learned=replace(place, representation="latent"), others=())
    screen, made = shared_screen(catalog.dataset("toy"), "alpha"), map_at(catalog, place)
    noise = technical_fdr(screen, made, moments=shared_moments(catalog.dataset("toy"), "alpha", "raw"))
    assert noise.reason is None
    expected = noise.fdr([made.profiles[made.position(one)] @ made.profiles[made.position(other)]
                          / made.norms[made.position(one)] / made.norms[made.position(other)]
                          for one, other in pairs])  # fmt: skip
    assert values(found, "simple technical FDR") == pytest.approx(expected.tolist())


# Activity


@pytest.fixture
def active(tmp_path):
    return open_catalog(toys.write_active_catalog(tmp_path, counts=dict.fromkeys(toys.KINDS, 6)))


def test_active_is_who_acts_in_either_map(active):
    simple = replace(SIMPLE, align="center")
    learned = replace(simple, representation="latent")
    pairs = [("both-0", "neither-0"), ("left-0", "right-0"), ("neither-1", "both-1")]
    found = gather(active, pairs, simple=simple, learned=learned, others=())
    words = []
    for place in (simple, learned):
        judged, _ = shared_activity(active.dataset("toy"), "alpha", place.representation, alignment="center")
        expected = {row["perturbation"]: "active" if row["q"] < 0.1 else "not active"
                    for row in judged.table.iter_rows(named=True)}  # fmt: skip
        assert activity_of(active, place) == (expected, "")
        words.append(expected)
    either = {name: "active" if "active" in (words[0][name], words[1][name]) else "not active" for name in words[0]}
    assert values(found, "first activity") == [either[first] for first, _ in pairs]
    assert values(found, "second activity") == [either[second] for _, second in pairs]
    assert values(found, "first activity")[:2] == ["active", "active"]
    assert either["right-0"] == "active"
    inactive, reason = inactive_names(active, simple, learned)
    assert inactive == {name for name, word in either.items() if word == "not active"}
    assert reason == ""
    assert inactive
    assert all(name.startswith("neither") for name in inactive)


def test_nobody_is_inactive_where_there_are_no_replicates(tmp_path):
    catalog = open_catalog(verdicts.write_catalog(tmp_path, guides=False))
    inactive, reason = inactive_names(catalog, SIMPLE, LEARNED)
    assert inactive == frozenset()
    assert reason
    words, why = activity_of(catalog, SIMPLE)
    assert "not active" not in words.values()
    assert why
    assert set(words) == set(verdicts.NAMES)


@pytest.mark.parametrize(
    ("basis", "q", "word"),
    [
        ("replicate consistency", 0.01, "active"),
        ("replicate consistency", 0.1, "not active"),
        ("magnitude", 0.01, "active"),
        ("magnitude", 0.9, "not judged"),
        (None, float("nan"), "not judged"),
        ("replicate consistency", float("nan"), "not judged"),
    ],
)
def test_size_alone_calls_nobody_inactive(basis, q, word):
    table = pl.DataFrame({"perturbation": ["A"], "q": [q], "basis": [basis]}, schema_overrides={"basis": pl.String})
    words, reason = gathered_evidence._words(table, ["A", "B"])
    assert words == {"A": word, "B": "not judged"}
    judged = basis == "replicate consistency" and not np.isnan(q)
    assert (reason == "") == judged


# What holds elsewhere


def test_pairs_that_hold_anywhere_are_those_of_the_reports(catalog):
    others = (BETA, Place("atlas", "alpha", "profile", "none"))
    found, notes = held_pairs(catalog, SIMPLE, LEARNED, others=others)
    expected = set()
    for place, there in ((SIMPLE, "profile"), (LEARNED, "net")):
        places = [replace(place, context="beta"), Place("atlas", "alpha", there, "none")]
        report = shared_report(catalog, place, places, k=10)
        holding = report.labels.filter(pl.col("label") == HOLDS)["edge"].to_list()
        expected |= {(report.edges["first"][edge], report.edges["second"][edge]) for edge in holding}
    assert found == expected
    assert found
    assert all(first < second for first, second in found)
    assert notes
    nobody, said = held_pairs(catalog, SIMPLE, LEARNED, others=())
    assert (nobody, said) == (frozenset(), ("no other context is chosen, so nothing is known to hold elsewhere",))


def test_other_data_sets_are_compared_by_their_nearest_representations(catalog):
    other = Place("atlas", "beta", "profile", "none")
    found = gather(catalog, others=(BETA, other))
    assert labels_of(SIMPLE, (BETA, other)) == ("alpha", "beta", "atlas/beta")
    assert found.table.columns == list(evidence_schema(("beta", "atlas/beta")))
    made = map_at(catalog, replace(other, representation="net"))
    row = [made.position(name) for name in PAIRS[0]]
    expected = cosines(made.profiles[row])[0, 1]
    assert values(found, "atlas/beta: learned similarity")[0] == pytest.approx(expected, abs=2e-6)
    assert "latent: compared in atlas/beta with net, the nearest of its kind there" in found.notes


def test_a_context_that_can_not_be_judged_leaves_the_others(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "catalog")
    (tmp_path / "catalog" / "atlas" / "latent_beta.parquet").write_bytes(b"torn")
    (tmp_path / "catalog" / "atlas" / "rows_alpha.parquet").write_bytes(b"torn")
    catalog = open_catalog(tmp_path / "catalog")
    others = (BETA, Place("atlas", "beta", "profile", "none"))
    found = gather(catalog, others=others)
    whole = gather(catalog)
    for name in ("simple similarity", "simple rank", "learned similarity"):
        assert values(found, f"beta: {name}") == values(whole, f"beta: {name}")
    assert values(found, "atlas/beta: learned similarity") == [None] * len(PAIRS)
    assert values(found, "atlas/beta: learned") == [None] * len(PAIRS)
    # The simple map is judged in both contexts, the learned one in one of them by itself.
    assert values(found, "beta: learned") == values(whole, "beta: learned")
    assert values(found, "beta: learned")[0] is not None
    notes = " ".join(found.notes)
    assert "latent: no map in atlas/beta: " in notes
    assert "latent: nothing can be judged in atlas/beta: " in notes


def test_too_few_shared_names_are_a_note(catalog):
    found = gather(catalog, k=30)
    assert values(found, "beta: simple") == [None] * len(PAIRS)
    assert any("nothing can be judged in beta: 109 perturbations" in note for note in found.notes)
    assert values(found, "simple rank")[0] is not None
    crowded = gather(catalog, k=200)
    for column in ("seeds", "seeds agreeing", "simple support", "learned support", "shared gene sets"):
        assert values(crowded, column) == [None] * len(PAIRS)
    assert sum("k = 200 neighbours can't be had" in note for note in crowded.notes) >= 3


# What is not there


def test_what_can_not_be_had_is_null_with_a_note(tmp_path):
    two = {name: toys.REPRESENTATIONS[name] for name in ("raw", "latent")}
    root = verdicts.write_catalog(
        tmp_path, {"representations": two, "relationships": None}, guides=False, controls=False
    )
    found = gather(open_catalog(root), [*PAIRS[:2], ("nobody", "G001")])
    absent = ["simple technical FDR", "learned technical FDR", "seeds agreeing", "seeds", "simple support",
              "learned support", "shared gene sets"]  # fmt: skip
    for column in absent:
        assert values(found, column) == [None] * 3, column
    assert values(found, "first activity") == ["not judged"] * 3
    assert values(found, "distrust") == [""] * 3
    assert values(found, "simple similarity")[2] is None
    for said in (
        "raw and latent: no FDR against technical noise: the screen has no controls",
        "latent: the model has one seed, so nobody knows what hangs on it",
        "raw and latent: no support under resampling: there are no replicates to draw anew: most perturbations have",
        "no gene sets are beside the data set, so none can be shared",
        "raw and latent: nobody can be called inactive: ",
    ):
        assert sum(note.startswith(said) for note in found.notes) == 1, (said, found.notes)


def test_an_embedding_with_one_row_a_perturbation_has_neither_support_nor_noise(tmp_path):
    # Written as if another map had made it, with a row for each name.
    root = verdicts.write_catalog(tmp_path)
    rows = [*verdicts.NAMES, toys.CONTROL]
    profiles = np.random.default_rng(0).normal(size=(len(rows), 5)).astype(np.float32)
    columns = {f"f{number}": profiles[:, number] for number in range(5)}
    pl.DataFrame({"gene": rows, **columns}).write_parquet(root / "toy" / "genes.parquet")
    card = root / "toy" / "card.toml"
    text = card.read_text(encoding="utf-8")
    card.write_text(
        text + '\n[representations.genes]\nkind = "learned"\nsource = "genes.parquet"\nsaw = []\n', encoding="utf-8"
    )
    found = gather(open_catalog(root), learned=replace(SIMPLE, representation="genes"), others=())
    assert values(found, "learned support") == values(found, "learned technical FDR") == [None] * len(PAIRS)
    assert values(found, "simple support")[0] is not None
    notes = " ".join(found.notes)
    assert "genes: no support under resampling: an embedding with one row a perturbation" in notes
    assert "genes: no FDR against technical noise: an embedding with one row a perturbation" in notes


def test_too_many_units_are_a_note(catalog, monkeypatch):
    monkeypatch.setattr(gathered_evidence, "shared_moments", lambda *_: None)
    found = gather(catalog, others=())
    assert values(found, "simple support") == values(found, "simple technical FDR") == [None] * len(PAIRS)
    assert sum("this screen has too many pairs of guide and batch" in note for note in found.notes) == 2


def test_an_empty_list_has_all_columns_and_no_line(catalog):
    found = gather(catalog, ())
    assert found.table.schema == evidence_schema(("beta",))
    assert found.table.height == 0


def test_cautions_of_the_card_stand_beside_the_pairs_they_are_about(tmp_path):
    cautions = [
        {"text": "mostly filling", "perturbations": ["G000", "G001", "G007"]},
        {"text": "seen <once>", "perturbations": ["G001"]},
    ]
    catalog = open_catalog(verdicts.write_catalog(tmp_path, {"cautions": cautions}))
    found = gather(catalog, [("G000", "G001"), ("G007", "G002"), ("G003", "G004"), ("G001", "G000")], others=())
    assert values(found, "distrust") == [
        "G000 and G001: mostly filling; G001: seen <once>",
        "G007: mostly filling",
        "",
        "G001 and G000: mostly filling; G001: seen <once>",
    ]


def test_names_may_be_any_text(tmp_path):
    payloads = ("a,b", 'say "x"', "<b>bold</b>", "=cmd()", "two\nlines")
    names = (*payloads, *verdicts.NAMES[: 110 - len(payloads)])
    # A file of gene sets has a line a set, so that no name in it has two.
    sets = {"=all, of <them>": names[:4]}
    catalog = open_catalog(verdicts.write_catalog(tmp_path, names=names, sets=sets))
    pairs = [("a,b", 'say "x"'), ("two\nlines", "<b>bold</b>"), ("=cmd()", "G000")]
    found = gather(catalog, pairs)
    assert list(zip(values(found, "first"), values(found, "second"), strict=True)) == pairs
    assert None not in values(found, "beta: simple")
    assert values(found, "shared gene sets")[0].startswith("=all, of <them> (")


def test_gene_sets_that_can_not_be_read_are_a_note(tmp_path):
    root = verdicts.write_catalog(tmp_path)
    (root / "known" / "sets.gmt").write_text("one\n", encoding="utf-8")
    found = gather(open_catalog(root))
    assert values(found, "shared gene sets") == values(found, "beta: simple") == [None] * len(PAIRS)
    assert any(note.startswith("shared gene sets can't be looked up: 'sets.gmt', line 1") for note in found.notes)
    assert "raw and latent: nothing can be judged in beta: 'sets.gmt', line 1" in " ".join(found.notes)
    assert values(found, "simple support")[0] is not None


# Order, keeping, progress


def test_the_order_of_lines_and_of_partners_changes_no_number(catalog):
    found = gather(catalog)
    turned = gather(catalog, [(second, first) for first, second in PAIRS[::-1]])
    columns = [name for name in found.table.columns if name.split(" ")[0] not in ("first", "second")]
    # The counts of a gene set are of the first and of the second partner.
    columns.remove("shared gene sets")
    assert turned.table.select(columns).equals(found.table[::-1].select(columns))
    assert values(turned, "first") == [second for _, second in PAIRS[::-1]]


def test_further_columns_of_the_list_are_passed_over(catalog):
    table = table_of().with_columns(z=pl.Series(range(len(PAIRS))))
    found = gather_evidence(catalog, table, simple=SIMPLE, learned=LEARNED, others=(BETA,), **FEW)
    assert found.table.equals(gather(catalog).table)


def test_a_second_ask_makes_nothing(folder, monkeypatch):
    first = gather(open_catalog(folder))

    def refuse(*_, **__):
        raise AssertionError

    for name in ("technical_fdr", "resampled_support", "shared_gene_sets"):
        monkeypatch.setattr(gathered_evidence, name, refuse)
    assert gather(open_catalog(folder)) is first
    # In another process it is read from disk.
    forget(monkeypatch)
    again = gather(open_catalog(folder))
    assert again.table.equals(first.table)
    assert again.notes == first.notes
    # Another list, seed or number is made anew.
    for options in ({"pairs": PAIRS[:2]}, {"seed": 1}, {"n_resamples": 5}, {"k": 9}):
        with pytest.raises(AssertionError):
            gather(open_catalog(folder), **options)


def test_known_pairs_given_are_no_decoys(catalog, monkeypatch):
    asked = []

    def report(*arguments, **options):
        asked.append(options["relationships"])
        return shared_report(*arguments, **options)

    monkeypatch.setattr(gathered_evidence, "shared_report", report)
    names = verdicts.NAMES
    given = Relationships.from_pairs("mine", names[:40], names[40:80])
    gather(catalog, relationships=(given,))
    held_pairs(catalog, SIMPLE, LEARNED, others=(BETA,), relationships=(given,))
    assert asked == [(given,)] * 4
    gather(catalog)
    assert asked[4:] == [()] * 2


def test_progress_never_goes_back_and_may_end_the_work(catalog):
    said = []
    gather(catalog, progress=lambda what, share: said.append((what, share)))
    shares = [share for _, share in said]
    assert shares == sorted(shares)
    assert (shares[0], said[-1]) == (0.0, ("done", 1.0))
    assert any("drawing guides anew" in what for what, _ in said)
    held = []
    held_pairs(catalog, SIMPLE, LEARNED, others=(BETA,), progress=lambda what, share: held.append(share))
    assert held == sorted(held)
    assert held[-1] == 1.0


@pytest.mark.parametrize("at", [0.0, 0.3, 0.6, 0.8, 0.95])
def test_work_that_was_ended_can_be_begun_again(catalog, at):
    def stop(what, share):
        if share >= at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        gather(catalog, PAIRS[:3], progress=stop)
    assert gather(catalog, PAIRS[:3]).table.height == 3


def test_files_that_change_meanwhile_are_one_sentence(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "catalog")
    catalog = open_catalog(tmp_path / "catalog")

    def touch(what, share):
        if what == "gene sets":
            os.utime(tmp_path / "catalog" / "toy" / "rows_beta.parquet", (1, 1))

    with pytest.raises(InputError, match="were changed while they were being read"):
        gather(catalog, progress=touch)
    assert gather(catalog).table.height == len(PAIRS)


# What can't be read


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (pl.DataFrame({"a": ["x"]}), "have no column 'first', 'second', expected .* columns there: 'a'"),
        (pl.DataFrame({"first": ["x"]}), "have no column 'second'"),
        (pl.DataFrame(), "columns there: none"),
        (pl.DataFrame({"first": ["x", None], "second": ["y", "z"]}), "line 2 of the pairs names 'None' and 'z'"),
        (pl.DataFrame({"first": [1], "second": [2]}), "line 1 of the pairs names '1' and '2': give two names"),
        (pl.DataFrame({"first": ["a\nb"], "second": ["a\nb"]}), r"line 1 of the pairs names 'a\\nb' twice"),
    ],
)
def test_a_table_that_is_no_list_of_pairs_is_one_sentence(catalog, table, said):
    with pytest.raises(InputError, match=said) as caught:
        gather_evidence(catalog, table, simple=SIMPLE, learned=LEARNED)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"learned": replace(LEARNED, context="beta")}, "toy/alpha and the learned one of toy/beta: give two maps"),
        ({"learned": replace(LEARNED, representation="lattent")}, "unknown representation 'lattent'"),
        ({"simple": replace(SIMPLE, dataset="toi"), "learned": replace(LEARNED, dataset="toi")}, "unknown dataset"),
        ({"others": (BETA, BETA)}, "can't be compared with itself"),
        ({"others": (SIMPLE,)}, "can't be compared with itself"),
        ({"seed": -1}, "a seed of -1 can't be used"),
    ],
)
def test_what_can_not_be_gathered_is_one_sentence(catalog, changes, said):
    with pytest.raises(InputError, match=said):
        gather(catalog, **changes)


def test_one_map_for_both_sides_is_looked_at_as_any_other(catalog):
    found = gather(catalog, learned=SIMPLE)
    for what in ("similarity", "rank", "support"):
        assert values(found, f"simple {what}") == values(found, f"learned {what}")
    assert values(found, "beta: simple") == values(found, "beta: learned")
    assert len(set(found.notes)) == len(found.notes)
