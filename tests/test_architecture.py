"""The shape of the package: imports run one way, signatures stay short, heavy libraries stay out."""

import ast
import importlib
import inspect
import subprocess
import sys
from collections.abc import Iterator

import pytest
from conftest import DEMO, PROJECT

import explorer

PACKAGE = PROJECT / "explorer"
FILES = sorted(PACKAGE.glob("*.py"))
TREES = {path.stem: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}

# A module imports from lines above its own, never from its own line or below.
LAYERS = (
    (
        "errors",
        "archive",
        "text",
        "significance",
        "store",
        "rowsums",
        "kernels",
        "numbering",
        "threads",
        "cosine_counts",
        "digits",
        "leaving",
        "routes",
        "crowd",
        "quarantine",
        "table_text",
    ),
    ("access", "headers", "memory", "page", "portable_parts", "sealed", "spelling", "terminal"),
    ("sources", "relationships", "charts", "panels", "medians", "replicates", "keeping", "frozen"),
    ("screen", "stored", "tables", "pseudo", "retrieval", "judge_charts", "context_charts", "frozen_files"),
    ("labels", "position", "prediction_charts", "shortlist_charts"),
    ("embed", "moments", "card", "roles", "matching"),
    ("align", "expression", "divide"),
    ("totals", "gather"),
    ("engine",),
    ("aggregate", "simulate", "cluster", "nulls"),
    ("relate", "halves", "activity", "energy", "known", "axis", "prediction_scores", "predictors"),
    ("stand_ins", "pair_scores"),
    (
        "compare",
        "layout",
        "partners",
        "tails",
        "hits",
        "decoys",
        "overlap",
        "edges",
        "evidence",
        "folds",
        "targets",
        "annotated",
    ),
    ("recall", "reliability", "exchange", "planted", "proximity", "repeatability", "crossfit", "pair_order"),
    ("benchmark", "contexts", "predict", "shortlist"),
    ("verdict", "planted_contexts", "planted_predictions", "pairs", "head_to_head"),
    ("power", "placebos", "outcomes"),
    ("load", "track_record"),
    ("knowledge", "pictures", "build", "write"),
    ("catalog",),
    ("judgements", "passport"),
    ("view", "work", "context_reports", "predictions"),
    (
        "arguments",
        "side_activity",
        "gathered_evidence",
        "judged",
        "progress",
        "held",
        "held_tables",
        "predicted",
        "context_json",
    ),
    ("side_by_side", "judge_details", "shortlists"),
    ("side_work", "proposed", "proposed_tables", "returned", "shortlist_json"),
    ("wording", "wording_judge", "wording_contexts", "wording_predict", "wording_shortlist", "offer"),
    (
        "context_exports",
        "context_text",
        "prediction_exports",
        "shortlist_exports",
        "prediction_text",
        "shortlist_text",
        "map_card",
        "judge_report",
        "judge_exports",
        "wording_checks",
        "landing",
        "portable",
    ),
    ("portable_view", "portable_judge", "portable_contexts", "portable_predict", "portable_shortlist"),
    ("gate", "list_commands"),
    ("server",),
    ("cli",),
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
ALLOWED = {
    "errors": set(),
    "text": set(),
    "store": set(),
    "significance": set(),
    "rowsums": set(),
    "kernels": set(),
    "charts": {"errors", "text"},
    "digits": set(),
    "judge_charts": {"charts", "digits", "errors", "text"},
    "panels": {"errors", "text"},
}
HEAVY = ("scanpy", "umap", "sklearn", "anndata", "torch", "scipy.stats", "matplotlib", "pandas", "numba")


def imports_of(tree: ast.Module) -> set[str]:
    """Modules of ours that a file imports, at the top or inside a function."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith("explorer.")}
    return found & set(TREES)


def public_functions() -> Iterator[tuple[str, ast.FunctionDef, bool]]:
    """Every public function and method, and constructors; and whether it belongs to a class."""
    for module, tree in TREES.items():
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                yield f"{module}.{node.name}", node, False
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                for part in node.body:
                    if isinstance(part, ast.FunctionDef) and (part.name == "__init__" or not part.name.startswith("_")):
                        yield f"{module}.{node.name}.{part.name}", part, True


FUNCTIONS = {name: (node, in_class) for name, node, in_class in public_functions()}


def test_every_module_has_its_place():
    assert set(LEVEL) == set(TREES) - {"__init__", "__main__"}


@pytest.mark.parametrize("module", sorted(set(TREES) & set(LEVEL)))
def test_imports_run_one_way(module):
    imported = imports_of(TREES[module])
    wrong = {name for name in imported if LEVEL[name] >= LEVEL[module]}
    assert not wrong, f"{module} imports {sorted(wrong)}, which stand beside or below it"
    if module in ALLOWED:
        assert imported <= ALLOWED[module]


def test_the_order_would_notice_a_loop():
    assert imports_of(ast.parse("def f():\n    from explorer.cli import main")) == {"cli"}
    assert imports_of(ast.parse("from explorer import relate")) == {"relate"}
    assert LEVEL["cli"] > LEVEL["relate"] > LEVEL["aggregate"] > LEVEL["align"] > LEVEL["moments"] > LEVEL["screen"]


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_public_functions_are_short_to_call_and_documented(name):
    node, in_class = FUNCTIONS[name]
    static = any(isinstance(mark, ast.Name) and mark.id == "staticmethod" for mark in node.decorator_list)
    positional = [*node.args.posonlyargs, *node.args.args]
    assert len(positional) - (in_class and not static) <= 3
    if node.name != "__init__":
        assert ast.get_docstring(node), "no docstring"


@pytest.mark.parametrize("module", sorted(TREES))
def test_modules_and_public_classes_are_documented(module):
    assert ast.get_docstring(TREES[module])
    for node in TREES[module].body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), node.name


def test_public_names_are_sorted_and_exist():
    assert explorer.__all__ == sorted(explorer.__all__)
    assert len(set(explorer.__all__)) == len(explorer.__all__)
    for name in explorer.__all__:
        assert getattr(explorer, name) is not None


def test_every_name_that_the_package_imports_is_public():
    names = {
        alias.asname or alias.name
        for node in TREES["__init__"].body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert names == set(explorer.__all__)


@pytest.mark.parametrize("module", sorted(TREES))
def test_nothing_is_unpickled(module):
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", "") or ""]
            assert not {name.split(".")[0] for name in names} & {"pickle", "joblib", "dill", "cloudpickle", "shelve"}
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            assert isinstance(node.value, ast.Constant)
            assert node.value.value is False
        if isinstance(node, ast.Name):
            assert node.id not in ("eval", "exec")


@pytest.mark.parametrize("module", sorted(TREES))
def test_modules_can_be_imported(module):
    if module != "__main__":
        importlib.import_module("explorer" if module == "__init__" else f"explorer.{module}")


SESSION = """
import sys
import explorer
from explorer.catalog import open_catalog, shared_halves, shared_knowledge, shared_layout, shared_map, shared_overlaps
from explorer.view import check_query, link_parameters, read_view

catalog = open_catalog(sys.argv[1])
view, problems = read_view({"dataset": "depmap"}, catalog)
assert not problems, problems
dataset = catalog.dataset("depmap")
for context in dataset.contexts:
    left, right = (shared_map(dataset, context, side, alignment=view.align) for side in (view.left, view.right))
    view, _ = check_query(view, left, right)
    comparison = explorer.compare_query(left, right, view.query, k=view.k)
    distribution = shared_overlaps(left, right, k=view.k)
    knowledge = shared_knowledge(dataset)
    explorer.merged_table(comparison, knowledge=knowledge)
    explorer.enrichment(comparison.left.names, left.names, knowledge.gene_sets, query=view.query)
    layouts = [shared_layout(dataset, side) for side in (left, right)]
    explorer.rotate_onto(layouts[0].coordinates, layouts[0].coordinates)
    shared_halves(dataset, context, view.left)
    assert 0 < distribution.mean < 1
    aligned = explorer.build_map(explorer.load_screen(dataset, context), view.left, alignment="center-scale")
link_parameters(view)
heavy = sys.argv[2].split(",")
print(",".join(name for name in heavy if name in sys.modules))
"""


def test_a_session_loads_no_heavy_library(tmp_path):
    # The first page must not wait for seconds of imports that it does not use.
    found = subprocess.run(
        [sys.executable, "-W", "error", "-c", SESSION, str(DEMO), ",".join(HEAVY)],
        capture_output=True,
        text=True,
        cwd=PROJECT,
        timeout=100,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.strip() == ""


NOTEBOOKS = sorted((PROJECT / "apps").glob("*.py"))


def calls_of(tree: ast.Module) -> Iterator[tuple[str, ast.Call]]:
    """Every call of a function of ours by the module's name, in a notebook: what only a click would run, too."""
    modules = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "explorer":
            modules |= {alias.asname or alias.name: alias.name for alias in node.names}
    for node in ast.walk(tree):
        called = node.func if isinstance(node, ast.Call) else None
        if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name) and called.value.id in modules:
            yield f"{modules[called.value.id]}.{called.attr}", node


@pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def test_notebooks_call_functions_as_they_are(path):
    calls = list(calls_of(ast.parse(path.read_text(encoding="utf-8"))))
    assert len(calls) > 20
    for name, call in calls:
        module, _, function = name.partition(".")
        signature = inspect.signature(getattr(importlib.import_module(f"explorer.{module}"), function))
        if any(isinstance(one, ast.Starred) for one in call.args) or any(one.arg is None for one in call.keywords):
            continue
        try:
            signature.bind(*call.args, **{one.arg: one.value for one in call.keywords})
        except TypeError as error:
            pytest.fail(f"{path.name}, line {call.lineno}: {name}: {error}")
