"""The contexts notebook without a browser: what its cells define, and that they hold no computation."""

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

import held_toys
import marimo
import pytest
import verdicts
from conftest import DEMO, PROJECT
from files import toy_anndata, write_anndata
from test_explore_app import is_one_sentence, is_path_join, nothing_shown

from explorer import held, held_tables, work
from explorer.work import Workshop

APP = PROJECT / "apps" / "contexts.py"
SOON = 20.0
HEAVY = ("scanpy", "umap", "sklearn", "torch", "pandas", "anndata", "numba", "scipy.stats")


@pytest.fixture(autouse=True)
def _own_workshop(monkeypatch):
    monkeypatch.setattr(held, "shared_workshop", Workshop())


@pytest.fixture(scope="module")
def app() -> marimo.App:
    specification = importlib.util.spec_from_file_location("contexts_under_test", APP)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module.app


def shown(app: marimo.App, path: Path) -> Mapping[str, Any]:
    """Names that the notebook defines when it is opened on a path."""
    _, definitions = app.run(defs={"data_path": path})
    return definitions


def html_of(app: marimo.App, path: Path) -> str:
    """Everything that the notebook puts on its page, as HTML."""
    outputs, _ = app.run(defs={"data_path": path})
    return "".join(output._repr_html_() for output in outputs if hasattr(output, "_repr_html_"))


# ---------------------------------------------------------------- what holds


@pytest.fixture(scope="module")
def toy_root(tmp_path_factory) -> Path:
    return verdicts.write_catalog(tmp_path_factory.mktemp("app"))


@pytest.fixture(scope="module")
def toy_page(app, toy_root) -> str:
    return html_of(app, toy_root)


def test_order_of_the_page(toy_page):
    order = [
        "in another cell system, time or technique?", "Does it hold in", "Compare simple", "Whose neighbours?",
        "neighbours hold in beta", "matched decoys", "how many would hold of as many",
        "Layout not declared", "They differ in cell system", "The whole map",
        "The edges that hold", "Learned against simple", "Where the raw overlap comes from", "What this can",
        "Take it away", "About these contexts",
    ]  # fmt: skip
    places = [toy_page.index(text) for text in order]
    assert places == sorted(places)


def test_nothing_is_shown_as_none(toy_page):
    assert ">None<" not in toy_page
    assert "nan" not in toy_page.replace("finance", "")


def test_what_the_cells_define(app, toy_root):
    found = shown(app, toy_root)
    assert found["catalog_problem"] == found["view_problem"] == found["link_warning"] == found["query_problem"] == ""
    assert found["problems"] == ()
    assert found["answer"].view.others == ("beta",)
    assert found["query"] == "G000"
    assert found["edges"].height > 100
    assert found["others_control"].value == ["beta"]


@pytest.mark.slow
def test_demo(app):
    found = shown(app, DEMO / "depmap")
    answer = found["answer"]
    assert answer.view.context == "skin"
    counts = held_tables.counts_of(answer.report, "USP22")[0]
    assert counts.n_edges == 10
    assert counts.n_holds >= 7, "SAGA holds in soft tissue"
    assert found["query"] == "NDUFV2"


def test_first_view_imports_little(toy_root):
    code = """
import importlib.util, json, sys
specification = importlib.util.spec_from_file_location("contexts", sys.argv[1])
module = importlib.util.module_from_spec(specification)
specification.loader.exec_module(module)
_, definitions = module.app.run(defs={"data_path": sys.argv[2]})
assert definitions["answer"].report.edges.height
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
    page = html_of(app, held_toys.write_hostile_catalog(tmp_path))
    assert "&#60;img src" in page
    for tag in ("<img src=x", "<script src=data", "<iframe srcdoc"):
        assert tag not in page


def test_one_context_alone(app, tmp_path):
    found = shown(app, write_anndata(tmp_path / "screen.h5ad", toy_anndata()))
    assert found["ticket"] is None
    assert is_one_sentence(found["view_problem"])
    assert "has no context but 'all'" in found["view_problem"]
    assert nothing_shown(found, "answer", "query", "edges")


def test_too_few(app, tmp_path):
    page = html_of(app, verdicts.write_catalog(tmp_path, names=verdicts.NAMES[:30]))
    assert "29 perturbations in both contexts" in page
    assert "are too few to tell neighbours from chance" in page
    assert "The whole map" not in page


@pytest.mark.parametrize("damage", ["missing", "broken card", "broken pairs"])
def test_data_that_can_not_be_used(app, tmp_path, damage):
    root = verdicts.write_catalog(tmp_path)
    if damage == "missing":
        root = tmp_path / "nowhere"
    elif damage == "broken card":
        root = root / "toy"
        (root / "card.toml").write_text('title = "half a', encoding="utf-8")
    else:
        (root / "known" / "pairs.parquet").write_bytes(b"PAR1 and nothing else")
    found = shown(app, root)
    assert is_one_sentence(found["catalog_problem"] or found["ticket"].problem)
    assert nothing_shown(found, "answer", "query", "edges")


def test_a_page_in_the_queue_shows_its_place_and_then_the_answer(app, tmp_path, monkeypatch):
    workshop = Workshop(most_running=1)
    monkeypatch.setattr(held, "shared_workshop", workshop)
    go = threading.Event()
    taken = workshop.start("taken", lambda say: go.wait(SOON))
    root = verdicts.write_catalog(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(work, "patience", lambda mode: 0.0)
        outputs, found = app.run(defs={"data_path": root})
    page = "".join(output._repr_html_() for output in outputs if hasattr(output, "_repr_html_"))
    assert "1st in the queue, 1 running" in page
    assert nothing_shown(found, "finished", "answer")
    go.set()
    assert taken.wait(SOON)
    assert found["ticket"].wait(SOON)
    assert found["ticket"].problem == ""
    assert shown(app, root)["answer"] is found["ticket"].result


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
