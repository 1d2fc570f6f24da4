"""The shape of the house: imports point down, rooms do not import each other, starting is light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import segkit

ROOT = Path(segkit.__file__).parent

# From the ground up. Units of one layer do not import each other, except among the workshops.
LAYERS = [
    {"coarse", "contract", "palette", "spelling"},
    {"ordered"},
    {"labels"},
    {
        "targets",
        "combinations",
        "erasing",
        "config",
        "tables",
        "environment",
        "explaining",
        "parallel",
        "helping",
        "surroundings",
    },
    {"class_counts", "clipping", "devices", "averaging", "checkpoints", "run_folders", "runs"},
    {"evidence", "loop", "trials"},
    {
        "data",
        "synthetic",
        "models",
        "losses",
        "metrics",
        "class_weights",
        "callbacks",
        "report",
        "schedules",
        "optimizers",
        "transfer",
        "inference",
        "formats",
    },
    {
        "sources",
        "assembly",
        "estimation",
        "features",
        "scoring",
        "preflight",
        "findings",
        "resuming",
        "predictor",
        "grouping",
        "replicates",
        "searching",
    },
    {
        "epochs",
        "finishing",
        "watching",
        "clusters",
        "run_data",
    },
    {"pseudo_labels"},
    {
        "training",
        "synthesis",
        "weighting",
        "checking",
        "previewing",
        "lr_finding",
        "evaluation",
        "prediction",
        "calibration",
        "audit",
        "export",
        "comparison",
        "completion",
        "rounds",
        "search",
        "sweeps",
    },
    {"cli"},
]
LEVEL = {unit: level for level, units in enumerate(LAYERS) for unit in units}
FILES = sorted(ROOT.rglob("*.py"))


def unit_of(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "segkit" and len(parts) > 1 else None


def imported_units(path: Path):
    """Units that a file imports, at any depth of the file; imports for type checkers do not run."""
    tree = ast.parse(path.read_text())
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (unit_of(alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute here"
            if node.module == "segkit":
                yield from (alias.name for alias in node.names)
            else:
                yield unit_of(node.module)


def home(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def test_every_unit_has_a_place():
    assert {home(path) for path in FILES} - {"__init__"} == set(LEVEL)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path):
    here = home(path)
    if here == "__init__":
        return
    for unit in set(imported_units(path)) - {None, here, "__version__"}:
        assert LEVEL[unit] < LEVEL[here], f"{here} imports {unit}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_bodies_stay_readable(path):
    text = path.read_text()
    assert text.count("\n") <= 250
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            docstring = ast.get_docstring(node) or ""
            lines = node.end_lineno - node.body[0].lineno + 1 - docstring.count("\n")
            assert lines <= 40, f"{node.name}: {lines} lines"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_public_names_are_explained(path):
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree) or not tree.body
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            assert ast.get_docstring(node), node.name


@pytest.mark.parametrize("module", ["segkit", "segkit.cli", "segkit.contract", "segkit.labels"])
def test_importing_does_not_import_tensorflow(module):
    code = f"import sys, {module}; print([m for m in ('tensorflow', 'keras') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_rooms_open_when_they_are_named():
    code = "import segkit; print(segkit.losses.CrossEntropy.__name__, 'losses' in dir(segkit))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["CrossEntropy", "True"]
    with pytest.raises(AttributeError, match="segkit has no 'lossses'. It has: .*losses"):
        segkit.lossses
