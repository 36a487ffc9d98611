"""The judge notebook without a browser: what its cells define, and that they hold no computation."""

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

import marimo
import pytest
import verdicts
from conftest import DEMO, PROJECT
from files import PAYLOADS as HOSTILE
from files import toy_anndata, write_anndata
from test_explore_app import is_one_sentence, is_path_join, nothing_shown

from explorer import judge_details, judged, work
from explorer.errors import InputError
from explorer.work import Workshop

APP = PROJECT / "apps" / "judge.py"
SOON = 20.0
# What a page must not wait for; the calibration below the verdict alone takes scikit-learn, and runs beside the page.
HEAVY = ("scanpy", "umap", "torch", "pandas", "sklearn", "anndata")
PAYLOADS = (
    "<img src=x onerror=window.__pwned=1>",
    "<script src=data:text/javascript,window.__pwned=1></script>",
    "<iframe srcdoc='<script>parent.__pwned=1</script>'>",
    r"$\href{javascript:window.__pwned=1}{x}$",
)


pytestmark = pytest.mark.usefixtures("own_workshop")


@pytest.fixture(scope="module")
def app() -> marimo.App:
    specification = importlib.util.spec_from_file_location("judge_under_test", APP)
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


# ---------------------------------------------------------------- the verdict


def test_perturbseq_demo(app, monkeypatch):
    def left_out(*_, **options):
        message = "left out"
        raise InputError(message)

    # It takes seconds, and the toy has one.
    monkeypatch.setattr(judge_details, "screen_exchange_rate", left_out)
    found = shown(app, DEMO / "perturbseq")
    assert found["checks"].silences == {"exchange rate": "left out"}
    assert found["catalog_problem"] == found["view_problem"] == found["link_warning"] == ""
    assert found["problems"] == ()
    answer = found["answer"]
    assert (answer.judgement.simple, answer.judgement.learned) == ("pseudobulk", "scvi")
    assert answer.judgement.verdict == "worse"
    assert answer.is_declared
    assert "declared beforehand" in found["meter"]
    assert found["at_budget"].curve.height > 5
    assert found["checks"].ceiling
    assert found["grid_work"] is None, "the grid takes long, and is begun when asked for"


@pytest.fixture(scope="module")
def toy_root(tmp_path_factory) -> Path:
    return verdicts.write_catalog(tmp_path_factory.mktemp("app"))


@pytest.fixture(scope="module")
def toy_page(app, toy_root) -> str:
    return html_of(app, toy_root)


def test_order_of_the_page(toy_page):
    order = [
        "worth it, at my budget?", "Too little is known to tell", "For your next experiments", "declared beforehand",
        "Every difference", "At my budget", "two lists disagree", "what alignment adds", "only effect size",
        "Within strata", "What noise allows", "Which groups gain", "What would change the verdict", "Before a screen",
        "Take it away", "About this dataset",
    ]  # fmt: skip
    places = [toy_page.index(text) for text in order]
    assert places == sorted(places)


def test_nothing_is_shown_as_none(toy_page):
    assert ">None<" not in toy_page
    assert "nan" not in toy_page.replace("finance", "")


def test_one_dataset_folder(app, toy_root):
    found = shown(app, toy_root / "toy")
    assert found["answer"].view.dataset == "toy"
    assert found["sources_control"].value == ["Pairs"]


def test_locked_shows_why_and_no_chart(app, tmp_path, monkeypatch):
    judge = judged.shared_judgement

    def locked(*arguments, **options):
        found = judge(*arguments, **options)
        return verdicts.judgement(
            verdict="locked", reason="the recipes differ in rows; make both maps alike and ask again", known_hits=None,
            sources=(), units=found.units[:0], fingerprints=found.fingerprints,
        )  # fmt: skip

    monkeypatch.setattr(judged, "shared_judgement", locked)
    page = html_of(app, verdicts.write_catalog(tmp_path))
    assert "the two maps were not made alike" in page
    assert "the recipes differ in rows" in page
    for absent in ("Every difference", "At my budget", "only effect size", "Which groups gain"):
        assert absent not in page


def test_first_view_imports_little(toy_root):
    code = """
import importlib.util, json, sys
from explorer import judge_details
from explorer.errors import InputError

def left_out(*_, **options):
    raise InputError("left out")

judge_details.calibrate_similarity = left_out
specification = importlib.util.spec_from_file_location("judge", sys.argv[1])
module = importlib.util.module_from_spec(specification)
specification.loader.exec_module(module)
_, definitions = module.app.run(defs={"data_path": sys.argv[2]})
assert definitions["answer"].judgement.verdict
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
    names = (*PAYLOADS, *verdicts.NAMES[: 110 - len(PAYLOADS)])
    changes = {key: PAYLOADS[0] for key in ("title", "license", "citation", "description", "provenance")}
    changes |= {"roles/perturbation": PAYLOADS[0]}
    known = {"relationships": {"Pairs": {"file": "pairs.parquet", "license": PAYLOADS[1], "citation": HOSTILE[2]}}}
    root = verdicts.write_catalog(tmp_path, changes, names=names, known=known)
    page = html_of(app, root)
    assert "&#60;img src" in page
    for tag in ("<img src=x", "<script src=data", "<iframe srcdoc"):
        assert tag not in page


@pytest.mark.parametrize(
    ("names", "says"),
    [(30, "30 perturbations are in both"), (55, "Too little is known to tell")],
)
def test_too_few(app, tmp_path, names, says):
    page = html_of(app, verdicts.write_catalog(tmp_path, names=verdicts.NAMES[:names]))
    assert says in page


def test_single_file_without_knowledge(app, tmp_path):
    path = write_anndata(tmp_path / "screen.h5ad", toy_anndata())
    found = shown(app, path)
    assert found["ticket"].state == "failed"
    assert is_one_sentence(found["ticket"].problem)
    assert nothing_shown(found, "answer", "forest", "at_budget", "checks", "meter")


@pytest.mark.parametrize("known", [True, False])
def test_what_went_wrong_stands_where_the_verdict_would(app, tmp_path, known):
    root = verdicts.write_catalog(tmp_path, None if known else {"relationships": None}, names=verdicts.NAMES[:30])
    page = html_of(app, root)
    says = "30 perturbations are in both" if known else "No known pairs or gene sets stand beside"
    assert page.index("worth it, at my budget?") < page.index(says) < page.index("Before a screen")
    assert "Pairs to test (budget)" in page
    assert "Neighbours (k)" in page


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
    problem = found["catalog_problem"] or found["ticket"].problem
    assert is_one_sentence(problem)
    assert nothing_shown(found, "answer", "forest", "at_budget", "checks", "meter")


@pytest.mark.parametrize("align", ["center", "tvn"])
def test_alignment_without_controls(app, tmp_path, align):
    found = shown(app, verdicts.write_catalog(tmp_path, {"defaults/align": align}, controls=False))
    assert is_one_sentence(found["ticket"].problem)
    assert "control" in found["ticket"].problem
    assert found["align_control"].value == align, "so that the user can choose another"
    assert nothing_shown(found, "answer", "forest")


# ---------------------------------------------------------------- what waits for its turn


def test_a_page_in_the_queue_shows_its_place_and_then_the_verdict(app, tmp_path, monkeypatch):
    workshop = Workshop(most_running=1)
    for module in (judged, judge_details):
        monkeypatch.setattr(module, "shared_workshop", workshop)
    go = threading.Event()
    taken = workshop.start("taken", lambda say: go.wait(SOON))
    root = verdicts.write_catalog(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(work, "patience", lambda mode: 0.0)
        outputs, found = app.run(defs={"data_path": root})
    page = "".join(output._repr_html_() for output in outputs if hasattr(output, "_repr_html_"))
    assert "1st in the queue, 1 running" in page
    assert nothing_shown(found, "finished", "answer")
    assert found["ticket"].place == 1
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
            assert ast.unparse(text).startswith(("mo.md(fill(", "mo.vstack([mo.md(fill("))
            continue
        assert ast.unparse(node.func) == "mo.md"
        assert isinstance(text, ast.Constant) or (isinstance(text, ast.Call) and "fill(" in ast.unparse(text)), (
            ast.unparse(node)
        )
        assert not any(isinstance(part, ast.JoinedStr) for part in ast.walk(text))


def test_setup_cell_imports_only():
    setup = next(node for node in tree().body if isinstance(node, ast.With))
    assert all(isinstance(statement, ast.Import | ast.ImportFrom) for statement in setup.body)
    names = {alias.name for node in setup.body if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module.split(".")[0] for node in setup.body if isinstance(node, ast.ImportFrom)}
    assert names == {"marimo", "explorer"}
