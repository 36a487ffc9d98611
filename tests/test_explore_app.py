"""The explore notebook without a browser: what its cells define, and that they hold no computation."""

import ast
import gc
import importlib.util
import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import marimo
import polars as pl
import pytest
import toys
from conftest import DEMO, PROJECT
from files import CONTROL, PERTURBATIONS, toy_anndata, write_anndata, write_card

from explorer import catalog as catalogs
from explorer import side_by_side, side_work, work
from explorer import view as views
from explorer.align import METHODS
from explorer.catalog import open_catalog
from explorer.held_tables import MARKS
from explorer.keeping import Shared
from explorer.view import link_parameters
from explorer.work import Workshop

APP = PROJECT / "apps" / "explore.py"
SOON = 20.0
HEAVY = ("scanpy", "umap", "sklearn", "anndata", "torch", "scipy.stats", "pandas", "numba")
PAYLOADS = (
    "<img src=x onerror=window.__pwned=1>",
    "<script src=data:text/javascript,window.__pwned=1></script>",
    "<iframe srcdoc='<script>parent.__pwned=1</script>'>",
    r"$\href{javascript:window.__pwned=1}{x}$",
)


@pytest.fixture(scope="module")
def app() -> marimo.App:
    specification = importlib.util.spec_from_file_location("explore_under_test", APP)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module.app


@pytest.fixture(scope="module")
def demo_view(app) -> Mapping[str, Any]:
    return shown(app, DEMO)


def shown(app: marimo.App, path: Path) -> Mapping[str, Any]:
    """Names that the notebook defines when it is opened on a path."""
    _, definitions = app.run(defs={"data_path": path})
    return definitions


def html_of(app: marimo.App, path: Path) -> str:
    """Everything that the notebook puts on its page, as HTML."""
    outputs, _ = app.run(defs={"data_path": path})
    return "".join(output._repr_html_() for output in outputs if hasattr(output, "_repr_html_"))


# ---------------------------------------------------------------- the demo


def test_demo_answers(demo_view):
    assert demo_view["catalog_problem"] == demo_view["view_problem"] == demo_view["query_problem"] == ""
    assert demo_view["problems"] == ()
    view, comparison = demo_view["view"], demo_view["comparison"]
    assert (view.dataset, view.context, view.query) == ("depmap", "skin", "NDUFV2")
    assert demo_view["agree_sentence"].startswith("NDUFV2: ")
    assert "(by chance 0.029 of 10)" in demo_view["agree_sentence"]
    assert "by chance" in demo_view["known_sentence"]
    assert demo_view["context_sentence"].startswith("DepMap 25Q2")
    assert len(comparison.left.names) == len(comparison.right.names) == view.k == 10


def test_demo_finds_the_module_of_the_query(demo_view):
    # Complex I of the respiratory chain, in both representations.
    for side in (demo_view["comparison"].left, demo_view["comparison"].right):
        assert sum(name.startswith("NDUF") for name in side.names) >= 8
    best = demo_view["gene_set_table"].row(0, named=True)
    assert best["query in set"]
    assert best["left q"] < 1e-6


def test_demo_table(demo_view):
    table = demo_view["table"]
    assert table.columns == [
        "perturbation", "neighbour of", "left rank", "left similarity", "right rank", "right similarity", "known",
        "active", "in soft_tissue",
    ]  # fmt: skip
    assert table.height == len(demo_view["comparison"].sides)
    assert table["perturbation"].is_unique().all()
    assert set(table["active"]) <= {"both", "left", "right", "neither"}
    labels = {f"{sign} {label}" for label, sign in MARKS.items()}
    several = {f"left {one}, right {other}" for one in labels for other in labels}
    assert set(table["in soft_tissue"]) <= labels | several | {"not measured"}
    assert "● holds" in table["in soft_tissue"].to_list()


def test_demo_has_a_yardstick(demo_view):
    what = [yardstick.what for yardstick in demo_view["found_yardsticks"]]
    assert what == ["autoencoder and autoencoder-seed-1 (another seed)"]


def test_maps_show_what_the_answer_says(demo_view):
    widget, pair = demo_view["linked"].widget, demo_view["pair"]
    assert tuple(widget.names.split("\n")) == pair.names
    assert widget.titles == list(demo_view["titles"]) == ["double-centered · simple", "autoencoder · learned"]
    assert widget.marks["query"] == pair.left.position("NDUFV2")
    assert pair.names_of(widget.selected) == []


def test_the_address_holds_the_whole_view(app, demo_view):
    expected = link_parameters(demo_view["view"], recipes=demo_view["recipes"])
    assert set(expected) == {
        "dataset", "context", "query", "left", "right", "align", "k", "direction", "among", "list", "recipes",
    }  # fmt: skip
    assert demo_view["recipes"].count(".") == 1
    assert demo_view["link_warning"] == ""


def test_first_view_imports_nothing_heavy():
    code = """
import importlib.util, json, sys
specification = importlib.util.spec_from_file_location("explore", sys.argv[1])
module = importlib.util.module_from_spec(specification)
specification.loader.exec_module(module)
_, definitions = module.app.run()
assert definitions["table"].height and definitions["found_yardsticks"] is not None
print(json.dumps([name for name in sys.argv[2:] if name in sys.modules]))
"""
    found = subprocess.run(
        [sys.executable, "-c", code, str(APP), *HEAVY],
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert found.returncode == 0, found.stderr[-2000:]
    assert json.loads(found.stdout.splitlines()[-1]) == []


# ---------------------------------------------------------------- other data


def test_toy_dataset(app, tmp_path):
    found = shown(app, toys.write_catalog(tmp_path))
    assert found["view"].k == 4
    assert set(found["comparison"].right.names) == set(toys.NAMES[1:5])
    assert found["known_sentence"].startswith("Known partners among them: 2 of 4 in raw, 2 of 4 in latent")
    assert found["gene_set_table"]["gene set"][0] == "module 0"
    assert len(found["found_yardsticks"]) == 3


@pytest.fixture(scope="module")
def active_root(tmp_path_factory) -> Path:
    return toys.write_active_catalog(tmp_path_factory.mktemp("active"), {"defaults/query": "neither-0"})


def test_an_inactive_query_is_doubted_before_its_neighbours(app, active_root):
    found = shown(app, active_root)
    assert [side.verdict for side in found["judged"]] == ["not active", "not active"]
    assert found["active_sentence"].startswith("neither-0 is not distinguishable from controls in raw (p ")
    assert found["active_sentence"].endswith(": its neighbours there are likely to mean nothing.")
    page = html_of(app, active_root)
    doubt = page.index("is not distinguishable from controls")
    assert doubt < page.index("neighbours are the same on both sides")
    assert doubt < page.index("do anything?") < page.index("How far do they agree?")


def test_only_the_active_are_shown_where_that_is_chosen(app, active_root, monkeypatch):
    read_view = views.read_view

    def active_view(*arguments: object):
        view, problems = read_view(*arguments)
        return replace(view, among="active"), problems

    every = shown(app, active_root)
    monkeypatch.setattr(views, "read_view", active_view)
    found = shown(app, active_root)
    assert found["among_control"].value == "active"
    n_active = len(found["pair"].names)
    assert n_active < len(every["pair"].names) == 32
    assert found["query_problem"] == (
        f"showing only those active in raw or latent (q below 0.1), and 'neither-0': {n_active} of 32 perturbations"
    )
    assert len(found["linked"].widget.names.split("\n")) == n_active
    assert found["recipes"] != every["recipes"]


def test_without_controls_activity_is_not_judged_and_that_is_said(app, tmp_path):
    root = toys.write_catalog(tmp_path, controls=False)
    found = shown(app, root)
    assert found["active_sentence"].startswith("Whether GENE00 does anything was not judged: no controls")
    assert "do anything?" not in html_of(app, root)


def test_one_dataset_folder(app, tmp_path):
    root = toys.write_catalog(tmp_path)
    assert shown(app, root / "toy")["view"].dataset == "toy"


def test_single_file_without_a_card(app, tmp_path):
    path = write_anndata(tmp_path / "screen.h5ad", toy_anndata())
    found = shown(app, path)
    assert found["view_problem"] == ""
    assert set(found["pair"].names) == set(PERTURBATIONS)
    assert found["catalog"].dataset("screen").card.roles.control == (CONTROL,)
    assert found["known_sentence"] == "No known relationships stand beside this dataset."


def test_three_perturbations(app, tmp_path):
    found = shown(app, toys.write_catalog(tmp_path, names=toys.NAMES[:3], guides=False, controls=False))
    assert found["view"].k == 2
    assert "2 of 2 neighbours are the same on both sides (by chance 2 of 2)" in found["agree_sentence"]
    assert found["table"].height == 2
    assert found["found_yardsticks"][0].mean_overlap == 1


def test_too_many_neighbours_are_reduced_and_said(app, tmp_path):
    found = shown(app, toys.write_catalog(tmp_path, {"defaults/k": "25"}, names=toys.NAMES[:10]))
    assert found["problems"] == ()
    assert found["k_control"].value == 25
    assert found["view"].k == 9
    assert found["query_problem"] == "k = 25 can't be had from 10 perturbations; showing k = 9 instead"


def test_unknown_default_query_is_replaced_and_said(app, tmp_path):
    found = shown(app, toys.write_catalog(tmp_path, {"defaults/query": "gene04"}))
    assert found["view"].query == "GENE00"
    assert found["query_problem"].startswith("unknown perturbation 'gene04': did you mean 'GENE04'")


def test_nothing_is_shown_as_none(app, tmp_path):
    # Without gene sets, known relationships, replicates or anything selected.
    root = toys.write_catalog(tmp_path, {"relationships": None}, guides=False, controls=False)
    assert shown(app, root)["gene_set_table"].height == 0
    assert ">None<" not in html_of(app, root)


def test_names_that_are_markup(app, tmp_path):
    names = (*PAYLOADS, *toys.NAMES[:8])
    sets = {payload: names[:6] for payload in PAYLOADS}
    changes = {key: PAYLOADS[0] for key in ("title", "license", "citation", "description", "provenance")}
    changes |= {"roles/perturbation": PAYLOADS[0], "defaults/query": PAYLOADS[1]}
    root = toys.write_catalog(tmp_path, changes, names=names, sets=sets)
    found = shown(app, root)
    assert found["view"].query == PAYLOADS[1]
    assert set(names) == set(found["pair"].names)
    assert set(found["gene_set_table"]["gene set"]) <= set(PAYLOADS)
    page = html_of(app, root)
    # As text the payload is there, in the sentences; as markup it is nowhere.
    assert "&#60;img src" in page
    for tag in ("<img src=x", "<script src=data", "<iframe srcdoc"):
        assert tag not in page


# ---------------------------------------------------------------- what can't be shown


def test_an_inactive_query_that_is_markup(app, tmp_path):
    names = [f"both-{number}" for number in range(8)] + [f"left-{number}" for number in range(8)]
    names += [f"right-{number}" for number in range(8)] + list(PAYLOADS[:8])
    for query in (PAYLOADS[0], PAYLOADS[2]):
        root = toys.write_active_catalog(tmp_path / query[1:4], {"defaults/query": query}, names=names)
        found = shown(app, root)
        assert [side.verdict for side in found["judged"]] == ["not active", "not active"]
        page = html_of(app, root)
        assert "is not distinguishable from controls" in page
        for tag in ("<img src=x", "<script src=data", "<iframe srcdoc"):
            assert tag not in page


def nothing_shown(found: Mapping[str, Any], *absent: str) -> bool:
    return not any(name in found for name in absent)


def is_one_sentence(problem: str) -> bool:
    return bool(problem) and "\n" not in problem and "Traceback" not in problem and len(problem) < 400


@pytest.fixture
def missing(tmp_path) -> Path:
    return tmp_path / "nowhere"


@pytest.fixture
def broken_card(tmp_path) -> Path:
    folder = toys.write_catalog(tmp_path) / "toy"
    (folder / "card.toml").write_text('title = "half a', encoding="utf-8")
    return folder


@pytest.fixture
def misspelt_card(tmp_path) -> Path:
    return write_card(tmp_path / "toy", {"licence": "CC0"})


@pytest.fixture
def truncated_file(tmp_path) -> Path:
    path = write_anndata(tmp_path / "screen.h5ad", toy_anndata())
    path.write_bytes(path.read_bytes()[:2000])
    return path


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ("missing", "no such path"),
        ("broken_card", "toy/card.toml is not valid TOML"),
        ("misspelt_card", "did you mean 'license'"),
        ("truncated_file", "'screen.h5ad'"),
    ],
)
def test_data_that_cannot_be_opened(app, request, damage, says):
    found = shown(app, request.getfixturevalue(damage))
    assert is_one_sentence(found["catalog_problem"])
    assert says in found["catalog_problem"]
    assert nothing_shown(found, "catalog", "dataset_control", "view", "comparison", "table", "agree_sentence", "strip")


def test_broken_dataset_beside_a_good_one(app, tmp_path):
    root = toys.write_catalog(tmp_path)
    broken = root / "broken"
    broken.mkdir()
    (broken / "card.toml").write_text("title = 1", encoding="utf-8")
    found = shown(app, root)
    assert list(found["dataset_control"].options) == ["toy"]
    assert is_one_sentence(found["catalog"].problems["broken"])


@pytest.mark.parametrize("align", [method for method in METHODS if method != "none"])
def test_alignment_without_controls(app, tmp_path, align):
    found = shown(app, toys.write_catalog(tmp_path, {"defaults/align": align}, controls=False))
    assert is_one_sentence(found["view_problem"])
    assert "control" in found["view_problem"]
    assert found["align_control"].value == align, "so that the user can choose another"
    assert nothing_shown(found, "view", "pair", "comparison", "table", "agree_sentence", "gene_set_table", "strip")
    assert found["linked"].widget.names == ""


def test_rows_truncated_after_the_card_was_read(app, tmp_path):
    root = toys.write_catalog(tmp_path)
    rows = root / "toy" / "rows_alpha.parquet"
    rows.write_bytes(rows.read_bytes()[:500])
    found = shown(app, root)
    assert found["catalog_problem"] == ""
    assert is_one_sentence(found["view_problem"])
    assert "rows_alpha.parquet" in found["view_problem"]
    assert nothing_shown(found, "view", "comparison", "table", "agree_sentence")


def test_damaged_known_relationships(app, tmp_path):
    root = toys.write_catalog(tmp_path)
    (root / "known" / "pairs.parquet").write_bytes(b"PAR1 and nothing else")
    found = shown(app, root)
    assert is_one_sentence(found["view_problem"])
    assert nothing_shown(found, "view", "comparison", "table", "agree_sentence")


def test_halves_too_small_for_a_yardstick(app, tmp_path):
    root = toys.write_catalog(tmp_path, names=toys.NAMES[:3], controls=False)
    for path in (root / "toy").glob("*_alpha.parquet"):
        pl.read_parquet(path).head(9).write_parquet(path)
    found = shown(app, root)
    assert found["view_problem"] == ""
    assert [yardstick.what for yardstick in found["found_yardsticks"]] == ["latent and latent-seed-1 (another seed)"]


def test_query_without_a_profile(app, tmp_path):
    root = toys.write_catalog(tmp_path)
    path = root / "toy" / "latent_alpha.parquet"
    rows = pl.read_parquet(root / "toy" / "rows_alpha.parquet")
    table = pl.read_parquet(path)
    features = [column for column in table.columns if column.startswith("feature_")]
    # Unaligned, a row of zeros has no direction.
    card = root / "toy" / "card.toml"
    card.write_text(card.read_text().replace("[defaults]", '[defaults]\nalign = "none"'))
    silent = (rows["gene"] == "GENE00").alias("silent")
    table.with_columns(pl.when(silent).then(0.0).otherwise(pl.col(features)).name.keep()).write_parquet(path)
    found = shown(app, root)
    assert is_one_sentence(found["view_problem"])
    assert "GENE00" in found["view_problem"]
    assert nothing_shown(found, "view", "comparison", "table", "agree_sentence")


# ---------------------------------------------------------------- what waits for its turn


@pytest.fixture
def workshop(monkeypatch) -> Workshop:
    """One turn, caches in which nothing stands ready, and a page that waits for nothing."""
    made = Workshop(most_running=1)
    monkeypatch.setattr(side_work, "shared_workshop", made)
    monkeypatch.setattr(catalogs, "_shared", Shared())
    monkeypatch.setattr(work, "patience", lambda mode: 0.0)
    return made


def test_a_page_in_the_queue_shows_its_place_and_then_the_answer(app, tmp_path, workshop):
    root = toys.write_catalog(tmp_path)
    go = threading.Event()
    taken = workshop.start("taken", lambda say: go.wait(SOON))
    outputs, found = app.run(defs={"data_path": root})
    page = "".join(output._repr_html_() for output in outputs if hasattr(output, "_repr_html_"))
    assert "Making the maps" in page
    assert "1st in the queue, 1 running" in page
    assert "role='progressbar'" in page
    assert nothing_shown(found, "found_answer", "view_problem", "view", "pair", "table", "agree_sentence")
    assert found["linked"].widget.names == ""
    assert list(found["dataset_control"].options) == ["toy"]
    maps = found["map_work"]
    go.set()
    assert taken.wait(SOON)
    assert maps.wait(SOON)
    # The page asks again, and now the maps are there and what stands below them waits.
    go.clear()
    taken = workshop.start("taken again", lambda say: go.wait(SOON))
    again = shown(app, root)
    assert again["view"].query == "GENE00"
    assert again["agree_sentence"].startswith("GENE00: ")
    assert again["linked"].widget.names.startswith("GENE00\n")
    assert nothing_shown(again, "details_made", "table", "distribution", "strip")
    details = again["detail_work"]
    assert details.place == 1
    go.set()
    assert details.wait(SOON)
    assert shown(app, root)["table"].height


def test_a_page_that_cancels_or_goes_gives_its_place_up(app, tmp_path, workshop):
    root = toys.write_catalog(tmp_path)
    go = threading.Event()
    taken = workshop.start("taken", lambda say: go.wait(SOON))
    found = shown(app, root)
    last = workshop.start("after it", lambda say: 1)
    assert (found["map_work"].place, last.place) == (1, 2)
    found["map_work"].cancel()
    assert last.place == 1
    assert side_work.answer_of(found["map_work"], found["catalog"], found["asked_view"]) == (None, "cancelled")
    gone = shown(app, root)
    assert gone["map_work"].place == 2
    del gone
    gc.collect()
    assert workshop.n_unfinished == 2
    go.set()
    assert taken.wait(SOON)


def test_a_server_that_is_busy_says_so_and_offers_to_begin_again(app, tmp_path, workshop, monkeypatch):
    busy = Workshop(most_running=1, most_waiting=0)
    monkeypatch.setattr(side_work, "shared_workshop", busy)
    go = threading.Event()
    taken = busy.start("taken", lambda say: go.wait(SOON))
    root = toys.write_catalog(tmp_path)
    assert shown(app, root)["view_problem"].startswith("the server is busy: ")
    assert "Begin again" in html_of(app, root)
    go.set()
    assert taken.wait(SOON)
    assert shown(app, root)["map_work"].wait(SOON)
    assert shown(app, root)["view_problem"] == ""


def test_work_that_breaks_is_a_sentence_on_its_page_alone(app, tmp_path, workshop, monkeypatch):
    root = toys.write_catalog(tmp_path)

    def broken(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr(work, "patience", lambda mode: None)
    with monkeypatch.context() as patched:
        patched.setattr(side_work, "shared_map", broken)
        found = shown(app, root)
        assert is_one_sentence(found["view_problem"])
        assert found["view_problem"].startswith("this could not be computed (ZeroDivisionError")
        assert "Begin again" not in html_of(app, root)
    assert shown(app, root)["view_problem"] == ""
    with monkeypatch.context() as patched:
        patched.setattr(side_by_side, "shared_overlaps", broken)
        patched.setattr(catalogs, "_shared", Shared())
        found = shown(app, root)
        assert found["agree_sentence"].startswith("GENE00: ")
        assert nothing_shown(found, "table", "strip")
        assert "This could not be computed" in html_of(app, root)
    assert shown(app, root)["table"].height


# ---------------------------------------------------------------- its source


def cells() -> list[ast.FunctionDef]:
    tree = ast.parse(APP.read_text(encoding="utf-8"))
    return [node for node in tree.body if isinstance(node, ast.FunctionDef)]


def setup() -> ast.With:
    tree = ast.parse(APP.read_text(encoding="utf-8"))
    return next(node for node in tree.body if isinstance(node, ast.With))


def is_path_join(node: ast.BinOp) -> bool:
    return isinstance(node.op, ast.Div) and isinstance(node.right, ast.Constant) and isinstance(node.right.value, str)


@pytest.mark.parametrize("cell", cells(), ids=lambda cell: cell.name)
def test_cell_is_thin(cell):
    nodes = list(ast.walk(cell))
    assert [ast.unparse(node) for node in nodes if isinstance(node, ast.BinOp) and not is_path_join(node)] == []
    forbidden = (ast.Try, ast.While, ast.AugAssign, ast.ClassDef, ast.Import, ast.ImportFrom, ast.FunctionDef, ast.With)
    assert [ast.unparse(node) for node in nodes if isinstance(node, forbidden) and node is not cell] == []
    assert len(cell.body) <= 12
    assert cell.name != "_", "a name for every cell"
    calls = {node.func.attr for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)}
    assert not calls & {"filter", "select", "with_columns", "group_by", "sum", "mean", "sort", "open", "read_text"}


@pytest.mark.parametrize("cell", cells(), ids=lambda cell: cell.name)
def test_no_string_from_data_reaches_markdown_unescaped(cell):
    for node in ast.walk(cell):
        if not (isinstance(node, ast.Call) and ast.unparse(node.func) in ("mo.md", "mo.Html", "mo.callout")):
            continue
        text = node.args[0]
        if ast.unparse(node.func) == "mo.callout":
            assert ast.unparse(text).startswith(("mo.md(fill(", "mo.vstack([mo.md(fill("))
            continue
        assert ast.unparse(node.func) == "mo.md"
        is_ours = isinstance(text, ast.Constant)
        is_filled = isinstance(text, ast.Call) and "fill(" in ast.unparse(text)
        assert is_ours or is_filled, ast.unparse(node)
        assert not any(isinstance(part, ast.JoinedStr) for part in ast.walk(text))


def test_setup_cell_imports_only():
    assert all(isinstance(statement, ast.Import | ast.ImportFrom) for statement in setup().body)
    names = {alias.name for node in setup().body if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module.split(".")[0] for node in setup().body if isinstance(node, ast.ImportFrom)}
    assert names == {"marimo", "explorer"}


def test_every_dataset_of_the_demo_can_be_used():
    assert open_catalog(DEMO).problems == {}


def test_marimo_check():
    found = subprocess.run(
        [sys.executable, "-m", "marimo", "check", "--strict", str(APP.parent)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert found.returncode == 0, found.stdout + found.stderr
