"""Files from elsewhere cannot run code: not a model, not a config, not an array, not a page."""

import ast
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from small_runs import write_run

import segkit
from segkit import cli, sources
from segkit.data.readers.images import read_image
from segkit.report.page import HERE

ROOT = Path(segkit.__file__).parent
UNPICKLERS = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
RUNNERS = {"eval", "exec", "compile", "__import__"}


def calls(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            given = {k.arg: ast.unparse(k.value) for k in node.keywords}
            yield ast.unparse(node.func), given | {"rest": [ast.unparse(a) for a in node.args]}


@pytest.mark.parametrize(
    "path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT))
)
def test_nothing_is_unpickled_or_evaluated(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [alias.name for alias in node.names] + [getattr(node, "module", "") or ""]
            assert not UNPICKLERS & {name.split(".")[0] for name in names}
    for name, keywords in calls(path):
        assert name not in RUNNERS
        assert keywords.get("shell", "False") == "False" and name != "os.system"
        assert name != "yaml.load" or keywords["rest"][1:] == ["_LOADER"]  # CSafeLoader
        if name == "np.load":
            assert keywords.get("allow_pickle") == "False"
        if name.endswith("load_model") and "keras" in name:
            assert keywords.get("safe_mode") == "True" and keywords.get("compile") == "False"


def test_pages_escape_and_forbid():
    # Autoescape is on for all of them (segkit/report/page.py); what is exempt is said to be safe.
    for path in HERE.glob("*.jinja"):
        text = path.read_text()
        assert "|safe" not in text.replace(" ", "") and "autoescape" not in text, path.name
    for path in HERE.glob("*.html.jinja"):
        text = path.read_text()
        if "<html" in text:
            assert "Content-Security-Policy" in text and "default-src 'none'" in text, path.name


def test_pickles_are_no_images(tmp_path):
    np.save(tmp_path / "x.npy", np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(ValueError, match="x.npy"):
        read_image(tmp_path / "x.npy")


@pytest.mark.parametrize("target", ["os.system", "segkit.config.hydra.utils.call", "builtins.exec"])
def test_the_config_of_a_run_is_built_of_segkit_only(tmp_path, target, capsys, hydra_off):
    done = tmp_path / "done"
    data = {"_target_": target, "command": f"touch {done}"}
    run = write_run(tmp_path / "run", data)
    with pytest.raises(ValueError, match="_target_ may name a class or function of segkit"):
        sources.open_splits(OmegaConf.load(run / "config.yaml").data)
    assert cli.main(["evaluate", f"run={run}"]) == 1
    assert "_target_ may name" in capsys.readouterr().err
    assert not done.exists()
