"""The config tree and what may be built from it."""

from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

import segkit.conf
from segkit import class_weights
from segkit.config import build, check_targets, compose
from segkit.labels import LabelSpace
from segkit.models import unet

ROOT = Path(next(iter(segkit.conf.__path__)))
FILES = sorted(path for path in ROOT.glob("*/*.yaml") if path.parent.name != "hydra")
CAMVID = "sky building pole road pavement tree sign_symbol fence car pedestrian bicyclist".split()
FIXED = {"fixed": (list("abcd"), [1, 2, 3, 4]), "camvid": (CAMVID, None)}


def space(names):
    return LabelSpace(names)


# What a target is called with, beyond what its file says.
COUNTS = class_weights.count(np.zeros((1, 2, 2), int), np.ones((1, 4), bool), space(list("abcd")))
ARGUMENTS = {
    "model": {"num_classes": 3},
    "class_weights": {"counts": COUNTS},
    "feature_loss": {"network": unet(num_classes=3, filters=2, depth=0)},
    "schedule": {"initial_learning_rate": 0.1, "decay_steps": 10},
}


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_choice_composes_and_says_what_it_is(path):
    group, choice = path.parent.name, path.stem
    lines = path.read_text().splitlines()
    first = next(line for line in lines if not line.startswith("# @package"))
    assert first.startswith("# ") and len(first) > 10
    needed = {"folder": ["data.root=x"]} | {
        "fixed": ["normalization.mean=[0.5]", "normalization.std=[0.2]"]
        * (group != "class_weights")
    }
    if group == "model" and choice.startswith("unet_") and choice != "unet_small":
        needed[choice] = ["model.weights=null"]  # there may be no network
    node = compose("train", [f"{group}={choice}", *needed.get(choice, [])])
    if group in ("data", "trainer", "experiment", "callbacks"):
        check_targets(OmegaConf.to_container(node[group], resolve=True) if group in node else {})
        return
    if group == "class_weights" and choice in FIXED:
        names, values = FIXED[choice]
        node.class_weights["values"] = values or node.class_weights["values"]
        everything = np.ones((1, len(names)), bool)
        counts = class_weights.count(np.arange(len(names))[None, None], everything, space(names))
        assert build(node.class_weights, counts=counts).shape == (len(names),)
        return
    with np.errstate(all="ignore"):
        if group == "class_weights" and choice != "none":
            with pytest.warns(UserWarning, match="No labelled pixel"):
                assert build(node[group], **ARGUMENTS[group]) is not None
        else:
            built = build(node[group], **ARGUMENTS.get(group, {}))
            assert built is not None or (group, choice) == ("feature_loss", "none")


@pytest.mark.parametrize("verb", ["train", "synthesize", "weights", "lr"])
def test_every_verb_composes(verb):
    assert "data" in compose(verb)


def test_numbers_that_people_type():
    node = compose(
        "train",
        ["data.missing.rate=0.3", "model.depth=2", "model.filters=8", "trainer.epochs=3"]
        + ["trainer.batch_size=8", "trainer.precision=float32", "class_weights=fixed"]
        + ["class_weights.values=[0.3,4.5,4.7,6.6]"],
    )
    assert build(node.class_weights, counts=COUNTS).tolist() == [0.3, 4.5, 4.7, 6.6]
    assert build(node.model, num_classes=4).count_params() < 100_000


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "subprocess.run",
        "builtins.eval",
        "hydra.utils.get_method",
        "segkit.config.hydra.utils.get_method",
        "segkit.cli.os.system",
        "segkit.losses",
        "keras.utils.get_file",
        "keras.models.load_model",
        "albumentations.load",
        "keras.layers.Lambda",
        "segkit.config.build",
        "segkit.config._locate",
        "segkit.cli.main",
        "segkit.training.run",
        "segkit.data.writing.write",
        "segkit.losses.reference.weighted_sum",
        "numpy.load",
        "",
        7,
    ],
)
@pytest.mark.parametrize("nested", [False, True])
def test_other_targets_are_refused_by_name(target, nested):
    node = {"_target_": target, "command": "true"}
    if nested:
        node = {"_target_": "segkit.losses.WeightedSum", "losses": [node]}
    with pytest.raises(
        ValueError, match=f"Received: '?{target}'?. Anything else could run any code"
    ):
        build(node)


def test_other_targets_are_refused_also_through_interpolation():
    node = OmegaConf.create(
        {"name": "os.system", "node": {"_target_": "${name}", "command": "true"}}
    )
    with pytest.raises(ValueError, match="Received: 'os.system'"):
        build(node.node)


def test_what_is_not_there_is_named():
    with pytest.raises(
        ValueError, match="segkit.losses has no 'CrossEntrpy'. It has:.*CrossEntropy"
    ):
        build({"_target_": "segkit.losses.CrossEntrpy"})
    with pytest.raises(ValueError, match="unexpected keyword argument 'gamma'"):
        build({"_target_": "segkit.losses.CrossEntropy"}, gamma=2)
    with pytest.raises(
        ValueError, match="unexpected keyword argument 'widht'. It takes: input_shape"
    ):
        build({"_target_": "segkit.models.unet", "widht": 2})
    with pytest.raises(ValueError, match="segkit.losses.SoftDice: .*Received: .'class_weights': 3"):
        build({"_target_": "segkit.losses.SoftDice", "class_weights": 3})
    with pytest.raises(ValueError, match="smooth > 0 pixels. Received: -1"):
        build({"_target_": "segkit.losses.SoftDice", "smooth": -1})
    nested = {"_target_": "segkit.losses.SoftDice", "smooth": -1}
    with pytest.raises(ValueError, match="smooth > 0 pixels. Received: -1"):
        build({"_target_": "segkit.losses.WeightedSum", "losses": [nested]})


def test_nothing_builds_nothing():
    assert build(None) is None
    with pytest.raises(ValueError, match="needs a _target_. Received: .'smooth': 1"):
        build({"smooth": 1})


def test_an_escaped_interpolation_does_not_turn_into_a_target(tmp_path):
    """hydra.utils.instantiate would resolve it a second time, behind the check."""
    path = tmp_path / "made"
    hidden = "\\${oc.create:{_target_: setuptools._distutils.spawn.spawn, cmd: [touch, %s]}}" % path
    node = OmegaConf.create({"_target_": "segkit.losses.WeightedSum", "losses": hidden})
    with pytest.raises(ValueError):
        build(node)
    assert not path.exists()


def test_a_wrong_value_of_albumentations_names_the_transform():
    node = {"_target_": "albumentations.HorizontalFlip", "p": 2}
    with pytest.raises(
        ValueError, match=r"^albumentations.HorizontalFlip: p: .*less than.* 1.*\'p\': 2"
    ):
        build(node)
