"""Links: what is written is read back, and whatever else arrives falls back with a sentence."""

import re

import numpy as np
import pytest
from files import PAYLOADS, write_dataset
from hypothesis import given
from hypothesis import strategies as st

from explorer.aggregate import build_map
from explorer.align import METHODS
from explorer.catalog import Catalog
from explorer.errors import InputError
from explorer.load import load_dataset, load_screen
from explorer.screen import Screen
from explorer.view import (
    AMONG,
    AMONG_OPTIONS,
    DIRECTIONS,
    MOST_HIGHLIGHTS,
    View,
    attempt,
    check_query,
    checked_view,
    default_sides,
    first_view,
    found_in_map,
    link_parameters,
    names_of_kind,
    read_names,
    read_view,
    recipe_warning,
    recipes_of,
    validated_choice,
    validated_k,
)

DATASETS = ("one", "two")
CONTEXTS = ("cells", "again")
REPRESENTATIONS = ("raw", "latent")
NAMES = [*PAYLOADS, "TP53", "MDM2", "RPL5"]
HOSTILE = [
    *PAYLOADS, "", " ", "None", "nan", "NaN", "-1", "0", "1e9", "1.5", "9" * 6000, "x" * 100_000, "../../etc/passwd",
    ["raw", "latent"], [], [[]], None, 5, 1e308, float("nan"), {"a": 1}, b"raw", "\x00", "\ud800", "__class__",
]  # fmt: skip
DEFAULT = View("one", "cells", "", "raw", "latent", align="center")
EXAMPLE = View("two", "again", "TP53", "latent", "raw", "tvn", 20, "opposite", ("MDM2", "RPL5"), "abc.def", "active")


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    root = tmp_path_factory.mktemp("catalog")
    contexts = {name: {"rows": "rows.parquet"} for name in CONTEXTS}
    latent = {"kind": "learned", "source": "latent_cells.parquet"}
    changes = {"contexts": contexts, "representations/latent": latent}
    return Catalog({name: load_dataset(write_dataset(root / name, changes)) for name in DATASETS})


@pytest.fixture(scope="module")
def maps(catalog):
    screen = load_screen(catalog.dataset("one"))
    return tuple(build_map(screen, name) for name in REPRESENTATIONS)


names = st.text(st.characters(exclude_categories=["Z", "C"], exclude_characters=",;"), min_size=1, max_size=20).filter(
    lambda name: not re.search(r"\s", name)
)
views = st.builds(
    View,
    dataset=st.sampled_from(DATASETS),
    context=st.sampled_from(CONTEXTS),
    query=st.one_of(st.sampled_from(NAMES), st.text(max_size=50)),
    left=st.sampled_from(REPRESENTATIONS),
    right=st.sampled_from(REPRESENTATIONS),
    align=st.sampled_from(METHODS),
    k=st.integers(1, 50),
    direction=st.sampled_from(DIRECTIONS),
    highlights=st.lists(names, unique=True, max_size=10).map(tuple),
    among=st.sampled_from(AMONG),
    recipes=st.one_of(st.just(""), st.from_regex(r"[0-9a-f]{12}\.[0-9a-f]{12}", fullmatch=True)),
)


@given(views)
def test_what_a_link_says_is_what_is_read(catalog, view):
    assert read_view(link_parameters(view), catalog) == (view, ())


@given(views)
def test_a_browser_may_send_each_value_in_a_list(catalog, view):
    assert read_view({key: [value] for key, value in link_parameters(view).items()}, catalog) == (view, ())


def test_recipes_of_the_maps_shown_go_into_the_link(maps):
    recipes = recipes_of(*maps)
    assert link_parameters(DEFAULT, recipes=recipes)["recipes"] == recipes
    assert recipes == f"{maps[0].fingerprint}.{maps[1].fingerprint}"


def test_no_parameters_give_the_defaults(catalog):
    assert read_view({}, catalog) == (DEFAULT, ())


def test_defaults_of_the_card(tmp_path):
    defaults = {"context": "cells", "query": "TP53", "left": "latent", "right": "raw", "align": "center", "k": 20}
    dataset = load_dataset(write_dataset(tmp_path / "toy", {"defaults": defaults}))
    assert read_view({}, Catalog({"toy": dataset})) == (
        View("toy", "cells", "TP53", "latent", "raw", "center", 20),
        (),
    )


@pytest.mark.parametrize(
    ("kinds", "sides"),
    [
        ({"a": "simple", "b": "learned"}, ("a", "b")),
        ({"a": "learned", "b": "simple"}, ("b", "a")),
        ({"a": "placebo", "b": "simple", "c": "learned"}, ("b", "c")),
        ({"a": "simple", "b": "simple"}, ("a", "b")),
        ({"a": "simple"}, ("a", "a")),
        ({"a": "learned"}, ("a", "a")),
        ({"a": "placebo"}, ("a", "a")),
    ],
)
def test_default_sides(tmp_path, kinds, sides):
    representations = {name: {"kind": kind, "source": "X"} for name, kind in kinds.items()}
    assert default_sides(load_dataset(write_dataset(tmp_path / "toy", {"representations": representations}))) == sides


def test_names_of_kind(tmp_path):
    kinds = {"a": "simple", "b": "learned", "c": "simple"}
    representations = {name: {"kind": kind, "source": "X"} for name, kind in kinds.items()}
    dataset = load_dataset(write_dataset(tmp_path / "toy", {"representations": representations, "defaults": None}))
    assert names_of_kind(dataset, "simple") == ("a", "c")
    assert names_of_kind(dataset, "placebo") == ("a", "b", "c"), "all of them where none is of it"


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("dataset", "tow", "unknown dataset 'tow': did you mean 'two'?; showing 'one' instead"),
        ("context", "cell", "unknown context 'cell': did you mean 'cells'?; showing 'cells' instead"),
        ("left", "latents", "unknown representation 'latents': did you mean 'latent'?; showing 'raw' instead"),
        ("right", "row", "unknown representation 'row': did you mean 'raw'?; showing 'latent' instead"),
        (
            "align",
            "centre",
            "unknown alignment 'centre': did you mean 'center'?; showing 'center' instead",
        ),
        ("direction", "up", "unknown direction 'up': choose one of 'similar', 'opposite'; showing 'similar' instead"),
        (
            "among",
            "activ",
            "unknown choice of perturbations 'activ': did you mean 'active'?; showing 'all' instead",
        ),
        ("k", "many", "k = 'many' is not a number from 1 to 50; showing k = 10 instead"),
        ("k", "0", "k = '0' is not a number from 1 to 50; showing k = 10 instead"),
        ("k", "51", "k = '51' is not a number from 1 to 50; showing k = 10 instead"),
        ("k", "-3", "k = '-3' is not a number from 1 to 50; showing k = 10 instead"),
        ("k", "5.0", "k = '5.0' is not a number from 1 to 50; showing k = 10 instead"),
    ],
)
def test_what_can_t_be_used_falls_back_and_is_said(catalog, name, value, sentence):
    assert read_view({name: value}, catalog) == (DEFAULT, (sentence,))


@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: repr(value)[:30])
def test_hostile_values_never_raise(catalog, maps, value):
    for name in (*link_parameters(DEFAULT), str(value)):
        view, problems = read_view({name: value}, catalog)
        assert view.dataset in DATASETS
        assert view.context in CONTEXTS
        assert {view.left, view.right} <= set(REPRESENTATIONS)
        assert view.align in METHODS
        assert view.direction in DIRECTIONS
        assert view.among in AMONG
        assert 1 <= view.k <= 50
        assert len(view.highlights) <= MOST_HIGHLIGHTS
        shown, problem = check_query(view, *maps)
        assert shown.query in maps[0].names
        assert all(len(sentence) < 300 and sentence.isprintable() for sentence in (*problems, problem))
        assert recipe_warning(view, shown, recipes=recipes_of(*maps)).isprintable()


def test_a_million_names(catalog):
    view, problems = read_view({"list": ",".join(map(str, range(1_000_000)))}, catalog)
    assert view.highlights == tuple(map(str, range(MOST_HIGHLIGHTS)))
    assert problems == ()


@pytest.mark.parametrize(
    ("query", "fallback", "shown", "sentence"),
    [
        ("TP53", "", "TP53", ""),
        ("", "", "BRCA1", ""),
        ("", "MDM2", "MDM2", ""),
        ("tp53", "", "BRCA1", "unknown perturbation 'tp53': did you mean 'TP53'?; showing 'BRCA1' instead"),
        ("tp53", "MDM2", "MDM2", "unknown perturbation 'tp53': did you mean 'TP53'?; showing 'MDM2' instead"),
        ("tp53", "mdm2", "BRCA1", "unknown perturbation 'tp53': did you mean 'TP53'?; showing 'BRCA1' instead"),
    ],
)
def test_check_query(maps, query, fallback, shown, sentence):
    view = View("one", "cells", query, "raw", "latent", k=5)
    checked, problem = check_query(view, *maps, fallback=fallback)
    assert (checked.query, checked.k, problem) == (shown, 5, sentence)


def test_check_query_lowers_k(maps):
    checked, problem = check_query(View("one", "cells", "TP53", "raw", "latent", k=50), *maps)
    assert checked.k == 5
    assert problem == "k = 50 can't be had from 6 perturbations; showing k = 5 instead"


@pytest.mark.parametrize(
    ("linked", "shown", "recipes", "warns"),
    [
        (EXAMPLE, EXAMPLE, "abc.def", False),
        (EXAMPLE, EXAMPLE, "abc.xyz", True),
        (DEFAULT, DEFAULT, "abc.xyz", False),
        (EXAMPLE, View("two", "again", "other query", "latent", "raw", "tvn", 3, among="active"), "abc.xyz", True),
        (EXAMPLE, View("two", "again", "TP53", "raw", "raw", "tvn", 20, among="active"), "abc.xyz", False),
        (EXAMPLE, View("two", "again", "TP53", "latent", "raw", "none", 20, among="active"), "abc.xyz", False),
        (EXAMPLE, View("two", "again", "TP53", "latent", "raw", "tvn", 20, among="all"), "abc.xyz", False),
    ],
)
def test_recipe_warning(linked, shown, recipes, warns):
    sentence = recipe_warning(linked, shown, recipes=recipes)
    assert bool(sentence) == warns
    if warns:
        assert sentence.startswith("the data or the method changed since this link was made, so what is shown may not")
        assert sentence.endswith("(recipes then 'abc.def', now abc.xyz)"), "fingerprints come last"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        (" ,; \n\t", ()),
        ("TP53", ("TP53",)),
        ("TP53, MDM2;RPL5\nRPL11\r\n\tMDM2", ("TP53", "MDM2", "RPL5", "RPL11")),
        ("TP53\u2028MDM2\u00a0RPL5", ("TP53", "MDM2", "RPL5")),
        ("<img src=x>", ("<img", "src=x>")),
    ],
)
def test_read_names(text, expected):
    assert read_names(text) == expected


@given(st.text())
def test_read_names_takes_any_text(text):
    found = read_names(text)
    assert len(set(found)) == len(found)
    assert all(found)
    assert read_names(",".join(found)) == found


def test_found_in_map(maps):
    assert found_in_map(["tp53", "MDM2", "TP53"], maps[0]) == (("TP53", "MDM2"), "")
    found, sentence = found_in_map(["TP53", "<b>\x1b", "nothing"], maps[0])
    assert found == ("TP53",)
    assert sentence == r"2 of 3 names of your list are not in this map: '<b>\x1b', 'nothing'"


def test_names_are_found_as_they_are_before_upper_case():
    made = build_map(Screen.from_arrays(["a", "A", "b"], {"raw": np.eye(3)}), "raw")
    assert found_in_map(["a", "B"], made) == (("a",), "1 of 2 names of your list are not in this map: 'B'")


CONTROLS = {
    "dataset": "two", "context": "again", "query": "TP53", "left": "latent", "right": "raw", "align": "tvn", "k": 20,
    "direction": "opposite", "among": "active", "highlights": ("MDM2", "RPL5"),
}  # fmt: skip


def test_checked_view(catalog):
    view = checked_view(catalog, **CONTROLS)
    assert link_parameters(view) == link_parameters(EXAMPLE) | {"recipes": ""}


@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: repr(value)[:30])
def test_checked_view_refuses_what_was_not_offered(catalog, value):
    for name in CONTROLS.keys() - {"query", "highlights"} - ({"k"} if value == 5 else set()):
        with pytest.raises(
            InputError, match=r"unknown (dataset|context|representation|alignment|direction|choice of)|can't be u"
        ) as caught:
            checked_view(catalog, **CONTROLS | {name: value})
        assert len(str(caught.value)) < 300
        assert str(caught.value).isprintable()


@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: repr(value)[:30])
def test_checked_view_takes_any_query_and_list(catalog, value):
    view = checked_view(catalog, **CONTROLS | {"query": value, "highlights": value})
    assert view.query == str(value)
    assert view.highlights == ()
    assert len(checked_view(catalog, **CONTROLS | {"highlights": (value,) * 5000}).highlights) <= MOST_HIGHLIGHTS


def test_the_menu_offers_every_choice_of_perturbations():
    assert tuple(AMONG_OPTIONS.values()) == AMONG


def test_first_view(catalog):
    assert first_view("two", EXAMPLE, catalog) is EXAMPLE
    assert first_view("one", EXAMPLE, catalog) == DEFAULT
    with pytest.raises(InputError, match="unknown dataset 'three'"):
        first_view("three", EXAMPLE, catalog)


@pytest.mark.parametrize("value", [value for value in HOSTILE if value != "raw"], ids=lambda value: repr(value)[:30])
def test_validated_choice(value):
    assert validated_choice("raw", REPRESENTATIONS, kind="representation") == "raw"
    with pytest.raises(InputError, match="unknown representation"):
        validated_choice(value, REPRESENTATIONS, kind="representation")


@pytest.mark.parametrize("k", [1, 10, 50])
def test_validated_k(k):
    assert validated_k(k) == k


@pytest.mark.parametrize("value", [0, -1, 51, 10**30, 5.0, True, "5", None, [5], float("nan"), np.inf])
def test_validated_k_refuses(value):
    with pytest.raises(InputError, match=r"can't be used: choose a whole number from 1 to 50"):
        validated_k(value)


def test_attempt():
    def fail():
        message = "no"
        raise InputError(message)

    assert attempt(lambda: 5) == (5, "")
    assert attempt(fail) == (None, "no")
