"""The notebook of predictions without a browser: what its cells define, and that they hold no computation."""

import ast
import importlib.util
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import marimo
import pytest
import toy_predictions
import toys
import verdicts
from conftest import DEMO, PROJECT
from files import toy_anndata, write_anndata
from test_explore_app import is_one_sentence, is_path_join, nothing_shown
from test_judge_app import PAYLOADS

from explorer import predicted, work
from explorer.work import Workshop

APP = PROJECT / "apps" / "predict.py"
SOON = 20.0


@pytest.fixture(autouse=True)
def _own_workshop(monkeypatch):
    monkeypatch.setattr(predicted, "shared_workshop", Workshop())


@pytest.fixture(scope="module")
def app() -> marimo.App:
    specification = importlib.util.spec_from_file_location("predict_under_test", APP)
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


@pytest.fixture(scope="module")
def toy_root(tmp_path_factory) -> Path:
    return verdicts.write_catalog(tmp_path_factory.mktemp("app"))


# ---------------------------------------------------------------- the verdict


@pytest.mark.slow
def test_perturbseq_demo(app):
    found = shown(app, DEMO / "perturbseq")
    assert found["catalog_problem"] == found["view_problem"] == found["link_warning"] == ""
    assert found["perturbation_notice"] == ""
    assert found["problems"] == ()
    answer = found["answer"]
    assert (answer.plan.task, answer.plan.context, answer.plan.source) == ("transfer", "line_B", "line_A")
    assert (answer.prediction.simple, answer.prediction.learned) == ("pseudobulk", "scvi")
    assert answer.prediction.verdict in ("predicts better", "not shown", "predicts worse")
    assert found["perturbation"] == "P119", "the query of the card"
    assert found["forest_frame"]["kind"][0] == "learned − simple"


def test_order_of_the_page(app, toy_root):
    page = html_of(app, toy_root)
    order = [
        "better than a mean?", "Simple", "Better than a mean, not shown to beat raw", "For your next experiments",
        "With what right", "Split", "Every difference", "Every predictor", "Predicted against measured",
        "Predicted best, and worst", "What it hangs on", "Take it away", "About this dataset",
    ]  # fmt: skip
    places = [page.index(text) for text in order]
    assert places == sorted(places)
    assert ">None<" not in page
    assert "nan" not in page.replace("finance", "")


def test_locked_shows_figures_and_no_verdict(app, tmp_path):
    root = verdicts.write_catalog(tmp_path, {"representations/latent/saw": ["alpha", "beta"]})
    page = html_of(app, root)
    assert "it saw the target" in page
    assert "the figures are shown, and no verdict is given" in page
    assert "Every predictor" in page


def test_five_pairs(app, toy_root, monkeypatch):
    toy_predictions.stand_in(monkeypatch, plan=toy_predictions.PAIRS_PLAN)
    monkeypatch.setattr(predicted, "usual_plan", lambda *_: toy_predictions.PAIRS_PLAN)
    page = html_of(app, toy_root)
    assert "Shown, not tested" in page
    assert "larger single alone" in page
    assert "Every difference" not in page
    # What a pair is predicted from is no choice.
    assert "Learned" not in page


def test_nothing_predicted(app, toy_root, monkeypatch):
    made = toy_predictions.prediction(verdict="underpowered", primary=None, tests=())
    made = replace(made, perturbations=made.perturbations[:0], scores=made.scores[:0])
    toy_predictions.stand_in(monkeypatch, made)
    page = html_of(app, toy_root)
    assert "Too little to tell" in page
    assert "Take it away" in page
    for absent in ("Every difference", "Every predictor", "Predicted against measured", "Predicted best"):
        assert absent not in page


# ---------------------------------------------------------------- what can't be shown


def test_names_that_are_markup(app, tmp_path):
    names = (*PAYLOADS, *verdicts.NAMES[: 110 - len(PAYLOADS)])
    changes = {key: PAYLOADS[0] for key in ("title", "license", "citation", "description", "provenance")}
    changes |= {"roles/perturbation": PAYLOADS[0], "defaults/query": PAYLOADS[1], "defaults/align": "none"}
    changes |= {f"contexts/{name}/technique": PAYLOADS[2] for name in ("alpha", "beta")}
    page = html_of(app, verdicts.write_catalog(tmp_path, changes, names=names))
    assert "&#60;script" in page
    for tag in ("<img src=x", "<script src=data", "<iframe srcdoc"):
        assert tag not in page


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"contexts/beta": None}, "transferred to itself"),
        ({"representations/raw": None, "defaults": None}, "unknown representation to predict"),
    ],
)
def test_catalogs_of_which_nothing_can_be_predicted(app, tmp_path, changes, says):
    found = shown(app, verdicts.write_catalog(tmp_path, changes))
    assert is_one_sentence(found["view_problem"])
    assert says in found["view_problem"]
    assert found["context_control"].value in ("alpha", "beta"), "so that the user can choose another"
    assert nothing_shown(found, "answer", "forest", "perturbation")


def test_no_shared_names(app, tmp_path):
    root = toys.write_catalog(tmp_path)
    other = toys.write_catalog(tmp_path / "other", names=tuple(f"OTHER{number}" for number in range(30)))
    (other / "toy" / "rows_beta.parquet").replace(root / "toy" / "rows_beta.parquet")
    for name in ("latent", "latent-seed-1"):
        (other / "toy" / f"{name}_beta.parquet").replace(root / "toy" / f"{name}_beta.parquet")
    found = shown(app, root)
    assert is_one_sentence(found["ticket"].problem)
    assert "share no perturbation" in found["ticket"].problem
    assert nothing_shown(found, "answer", "forest", "perturbation")


def test_single_file(app, tmp_path):
    found = shown(app, write_anndata(tmp_path / "screen.h5ad", toy_anndata()))
    assert is_one_sentence(found["view_problem"] or found["ticket"].problem)
    assert nothing_shown(found, "answer", "forest", "perturbation")


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
    problem = found["catalog_problem"] or found["view_problem"] or found["ticket"].problem
    assert is_one_sentence(problem)
    assert nothing_shown(found, "answer", "forest", "perturbation")


# ---------------------------------------------------------------- what waits for its turn


def test_a_page_in_the_queue_shows_its_place_and_then_the_verdict(app, tmp_path, monkeypatch):
    workshop = Workshop(most_running=1)
    monkeypatch.setattr(predicted, "shared_workshop", workshop)
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
    assert shown(app, root)["answer"].prediction is found["ticket"].result.prediction


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
