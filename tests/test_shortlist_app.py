"""The shortlist notebook without a browser: what its cells define, and that they hold no computation."""

import ast
import importlib.util
import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import listed_toys
import marimo
import pytest
import verdicts
from conftest import DEMO, PROJECT
from files import toy_anndata, write_anndata
from test_explore_app import is_one_sentence, is_path_join, nothing_shown

from explorer import proposed, work
from explorer.work import Workshop

APP = PROJECT / "apps" / "shortlist.py"
SOON = 20.0
# The known rate is fitted with scikit-learn, which brings pandas and scipy.stats, within the work.
HEAVY = ("scanpy", "umap", "torch", "anndata", "numba")


@pytest.fixture(autouse=True)
def _own_workshop(monkeypatch):
    monkeypatch.setattr(proposed, "shared_workshop", Workshop())


@pytest.fixture(scope="module")
def app() -> marimo.App:
    specification = importlib.util.spec_from_file_location("shortlist_under_test", APP)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module.app


def run(app: marimo.App, path: Path, **defs: Any) -> tuple[str, Mapping[str, Any]]:
    """Everything that the notebook puts on its page when it is opened on a path, and the names that it defines."""
    outputs, found = app.run(defs={"data_path": path, **defs})
    return "".join(output._repr_html_() for output in outputs if hasattr(output, "_repr_html_")), found


@pytest.fixture(scope="module")
def toy_root(tmp_path_factory) -> Path:
    return verdicts.write_catalog(tmp_path_factory.mktemp("app"))


@pytest.fixture(scope="module")
def toy(app, toy_root) -> tuple[str, Mapping[str, Any]]:
    return run(app, toy_root)


@pytest.fixture(scope="module")
def blind(app, toy_root) -> tuple[str, Mapping[str, Any]]:
    view, _ = proposed.read_list_view({"mode": "compare"}, listed_toys.open_catalog(str(toy_root)))
    return run(app, toy_root, linked_view=view, problems=())


# ---------------------------------------------------------------- a list


def test_order_of_the_page(toy):
    page, _ = toy
    order = [
        "What should I test next", "Dataset", "Count in", "What is known", "The annotation holds about",
        "not inactive in both maps", "Only pairs with one of", "Find hits, or compare the maps?",
        "Lets the experiments judge",
        "Pairs to test", "pairs to test next", "of pairs this similar are already known",
        "Only pairs that pass", "The list", "Click a row", "One pair", "Where they stand in both maps",
        "Take it away", "Freeze this list", "Results come back", "Track record", "What this can", "About this data",
    ]  # fmt: skip
    places = [page.index(text) for text in order]
    assert places == sorted(places)


def test_nothing_is_shown_as_none(toy):
    page, _ = toy
    assert ">None<" not in page
    assert ">nan<" not in page


def test_what_the_cells_define(toy):
    _, found = toy
    assert found["catalog_problem"] == found["view_problem"] == ""
    assert found["problems"] == ()
    assert found["answer"].found.rows.height == 50
    assert found["get_evidence"]().table.height == 50, "evidence is there when the work is"
    assert found["list_frame"].columns[:4] == ["rank", "first", "second", "proposed by"]
    assert found["others_control"].value == ["beta"]
    assert found["track_path"] is None
    assert found["came_back"] is None


def test_a_blind_list_tells_nothing(blind):
    page, found = blind
    made = found["answer"].found
    assert made.census is not None
    assert found["evidence_work"] is None
    assert found["list_frame"] is None
    assert "The pairs, blind" in page
    assert "list, sheet and key" in page
    for told in ("proposed by", "simple rank", "One pair", "Where they stand", "all figures", "Annotated apart"):
        assert told not in page, told
    assert f"{made.census.depth} pairs each" in page


@pytest.mark.slow
@pytest.mark.parametrize("name", ["perturbseq", "depmap"])
def test_demos(app, name):
    _, found = run(app, DEMO / name)
    assert found["answer"].found.rows.height == 50
    assert found["get_evidence"]().table.height == 50


def test_first_view_imports_little(toy_root):
    code = """
import importlib.util, json, sys
specification = importlib.util.spec_from_file_location("shortlist", sys.argv[1])
module = importlib.util.module_from_spec(specification)
specification.loader.exec_module(module)
_, definitions = module.app.run(defs={"data_path": sys.argv[2]})
assert definitions["answer"].found.rows.height
print(json.dumps([name for name in sys.argv[3:] if name in sys.modules]))
"""
    found = subprocess.run(
        [sys.executable, "-c", code, str(APP), str(toy_root), *HEAVY],
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert found.returncode == 0, found.stderr[-2000:]
    assert json.loads(found.stdout.splitlines()[-1]) == []


# ---------------------------------------------------------------- what can't be shown


def test_names_that_are_markup(app, tmp_path):
    page, found = run(app, listed_toys.write_hostile(tmp_path))
    assert found["answer"].found.rows.height
    assert "&#60;img src" in page
    for tag in ("<img src=x", "<script>window.__pwned", "<iframe srcdoc"):
        assert tag not in page


def test_one_context_of_which_nothing_is_known(app, tmp_path):
    page, found = run(app, write_anndata(tmp_path / "screen.h5ad", toy_anndata()))
    assert found["view_problem"] == ""
    assert found["answer"].found.rows.height == 3
    assert "Nothing is known of pairs like these" in page
    assert "Expected hits, added up" not in page
    assert ">nan<" not in page


@pytest.mark.parametrize("damage", ["missing", "broken card", "broken rows"])
def test_data_that_can_not_be_used(app, tmp_path, damage):
    root = verdicts.write_catalog(tmp_path)
    if damage == "missing":
        root = tmp_path / "nowhere"
    elif damage == "broken card":
        root = root / "toy"
        (root / "card.toml").write_text('title = "half a', encoding="utf-8")
    else:
        (root / "toy" / "rows_alpha.parquet").write_bytes(b"PAR1 and nothing else")
    page, found = run(app, root)
    assert is_one_sentence(found["catalog_problem"] or found["ticket"].problem)
    assert nothing_shown(found, "answer", "list_frame")
    assert "Results come back" in page


def test_a_page_in_the_queue_shows_its_place_and_then_the_answer(app, tmp_path, monkeypatch):
    workshop = Workshop(most_running=1)
    monkeypatch.setattr(proposed, "shared_workshop", workshop)
    go = threading.Event()
    taken = workshop.start("taken", lambda say: go.wait(SOON))
    root = verdicts.write_catalog(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(work, "patience", lambda mode: 0.0)
        page, found = run(app, root)
    assert "1st in the queue, 1 running" in page
    assert nothing_shown(found, "finished", "answer")
    go.set()
    assert taken.wait(SOON)
    assert found["ticket"].wait(SOON)
    assert found["ticket"].problem == ""


def test_a_list_is_shown_before_its_evidence(app, toy_root, monkeypatch):
    workshop = Workshop(most_running=1)
    monkeypatch.setattr(proposed, "shared_workshop", workshop)
    go = threading.Event()
    begin = proposed.start_evidence

    def late(catalog, made):
        workshop.start("taken", lambda say: go.wait(SOON))
        return begin(catalog, made)

    monkeypatch.setattr(proposed, "start_evidence", late)
    monkeypatch.setattr(proposed, "at_first", lambda ticket, seconds: None)
    page, found = run(app, toy_root)
    go.set()
    assert "Gathering what stands beside each pair" in page
    assert "The list" in page
    assert "known this similar" in found["list_frame"].columns
    assert "Freeze this list" in page


# ---------------------------------------------------------------- its source


def tree() -> ast.Module:
    return ast.parse(APP.read_text(encoding="utf-8"))


def cells() -> list[ast.FunctionDef]:
    return [node for node in tree().body if isinstance(node, ast.FunctionDef)]


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
            assert ast.unparse(text).startswith(("mo.md(fill(", "mo.md(''.join(", "mo.vstack([mo.md(fill("))
            continue
        assert ast.unparse(node.func) == "mo.md"
        assert isinstance(text, ast.Constant) or (isinstance(text, ast.Call) and "fill(" in ast.unparse(text)), (
            ast.unparse(node)
        )
        assert not any(isinstance(part, ast.JoinedStr) for part in ast.walk(text))
        if isinstance(text, ast.Call) and ast.unparse(text).startswith("''.join(["):
            # What is joined is a text of our own, or filled.
            for part in text.args[0].elts:
                inner = part.value.elt if isinstance(part, ast.Starred) else part
                assert isinstance(inner, ast.Constant) or ast.unparse(inner).startswith("fill("), ast.unparse(inner)


def test_setup_cell_imports_only():
    setup = next(node for node in tree().body if isinstance(node, ast.With))
    assert all(isinstance(statement, ast.Import | ast.ImportFrom) for statement in setup.body)
    names = {alias.name for node in setup.body if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module.split(".")[0] for node in setup.body if isinstance(node, ast.ImportFrom)}
    assert names == {"marimo", "explorer"}
