"""What `segkit evaluate` makes of a model: scores, intervals, files, and what it refuses."""

import csv
import json
import re
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import yaml
from evaluated import Discs, Oracle
from folder_data import add, classes, make

from segkit import evaluation, grouping, run_data, runs
from segkit.config import compose
from segkit.evaluation import evaluate, files, text
from segkit.evaluation.image_scores import Worst
from segkit.labels import LabelSpace


def block_of(found, split="val"):
    return found.to_dict(split)[split]


def test_a_perfect_prediction_scores_1_with_distances_of_0():
    block = block_of(evaluate(Oracle(), Discs()))
    assert block["mean_iou"] == block["mean_dice"] == 1 and block["images"] == 6
    for row in block["per_class"]:
        scores = [row[key] for key in ("iou", "dice", "precision", "recall", "specificity")]
        assert scores == [1] * 5 and row["average_precision"] == 1
        assert row["iou_interval"] == row["dice_interval"] == [1, 1]
        assert row["surface_dice"] == {"median": 1, "mean": 1, "images": 6, "infinite": 0}
        assert row["hausdorff_95"]["mean"] == row["mean_surface_distance"]["median"] == 0
    assert block["calibration"]["ece"] == 0
    confusion = np.array(block["confusion"])
    assert (confusion == np.diag(np.diag(confusion))).all() and confusion.sum() == 6 * 16 * 20


def test_a_model_that_is_right_and_unsure_is_not_calibrated():
    """Right everywhere at 0.7: the gap is 0.3, in one bin."""
    calibration = block_of(evaluate(Oracle(sure=0.7), Discs()))["calibration"]
    assert calibration["ece"] == pytest.approx(0.3) == calibration["mce"]


def test_what_nobody_looked_for_is_null_and_nothing_is_0():
    """The background may hide a nucleus everywhere, so it is settled nowhere, either."""
    block = block_of(evaluate(Oracle(), Discs(annotated=(True, True, False))))
    rows = {row["name"]: row for row in block["per_class"]}
    for name in ("background", "nucleus"):
        row = rows[name]
        silent = ("iou", "specificity", "average_precision", "ece", "iou_interval")
        assert [row[key] for key in silent] == [None] * 5 and row["images"] == 0
        nothing = {"median": None, "mean": None, "images": 0, "infinite": 0}
        assert row["surface_dice"] == row["hausdorff_95"] == nothing
    assert rows["cell"]["iou"] == block["mean_iou"] == 1


def test_the_truth_is_scored_beside_the_known_cells():
    """Of cells, all is annotated and right; nuclei were hidden, and half of them are missed."""

    class NoNuclei(Oracle):
        def each(self, images):
            for index, found in enumerate(super().each(images)):
                yield (
                    found
                    if index % 2
                    else np.where(found[..., 2:] == 1, np.float32([1, 0, 0]), found)
                )

    found = evaluate(NoNuclei(), Discs(annotated=(True, True, False), truth=True)).to_dict("val")
    assert list(found) == ["val", "val/truth"]
    known, true = ({r["name"]: r for r in found[key]["per_class"]} for key in found)
    assert known["nucleus"]["iou"] is None and true["nucleus"]["iou"] == 0.5
    assert true["nucleus"]["hausdorff_95"]["infinite"] == 3
    assert true["cell"]["iou"] == known["cell"]["iou"] == 1


def test_a_median_counts_infinite_distances_and_a_mean_does_not():
    summary = files.over_images
    few, most = np.array([1.0, 2.0, np.inf, np.nan]), np.array([5.0, np.inf, np.inf])
    assert summary(few) == {"median": 2.0, "mean": 1.5, "images": 3, "infinite": 1}
    assert summary(most) == {"median": None, "mean": 5.0, "images": 3, "infinite": 2}
    nothing = {"median": None, "mean": None, "images": 0, "infinite": 0}
    assert summary(np.full(2, np.nan)) == nothing
    assert summary(np.array([0.2, 0.8]))["median"] == 0.5
    assert summary(np.array([1.0, np.inf]))["median"] is None


def test_distances_are_in_the_unit_of_the_pixels():
    """Every cell lies 3 columns beside its place, and a column is 0.5 wide."""
    one, half = (
        block_of(evaluate(Oracle(shift=lambda _: 3), Discs(), tolerance=t, pixel_size=size))
        for t, size in ((2.0, (1.0, 1.0)), (1.0, (1.0, 0.5)))
    )
    far = [block["per_class"][1]["hausdorff_95"]["median"] for block in (one, half)]
    assert far == [3, 1.5]


def test_images_of_a_group_are_drawn_together():
    """Two patients, of which one fails altogether: among images the interval is narrower."""
    shift = lambda index: 9 * (index < 12)  # noqa: E731
    source = Discs(24, groups=["a"] * 12 + ["b"] * 12)
    source.__class__ = type("Narrow", (Discs,), {"__getitem__": lambda s, i: Discs()[i % 6]})
    wide, narrow = (
        evaluate(Oracle(shift=shift), source, groups=groups) for groups in ("auto", "none")
    )
    assert (wide.unit, wide.units, narrow.unit, narrow.units) == ("group", 2, "image", 24)
    (low, high), (lower, higher) = (
        block_of(found)["per_class"][1]["iou_interval"] for found in (wide, narrow)
    )
    assert low < lower < higher < high
    parts = block_of(wide)["groups"]
    assert [(row["name"], row["images"]) for row in parts] == [("a", 12), ("b", 12)]
    assert parts[0]["mean_iou"] < parts[1]["mean_iou"] == 1


def test_units_of_the_resampling():
    some = ["p1", "p1", ""], ["here", "there", "there"]
    assert grouping.units("auto", *some)[0] == "group"
    unit, owners = grouping.units("group", *some)
    assert unit == "group" and owners[0] == owners[1] and len(set(owners)) == 2
    assert grouping.units("source", *some) == ("source", some[1])
    assert grouping.units("auto", [""] * 3, [""] * 3)[0] == "image"
    with pytest.raises(ValueError, match="groups=source needs a source .*data=joined names them"):
        grouping.units("source", some[0], [""] * 3)
    with pytest.raises(ValueError, match="auto, group, source, none. Received: 'patient'"):
        grouping.units("patient", *some)


def test_one_image_has_scores_and_no_interval():
    found = evaluate(Oracle(), Discs(1))
    block = block_of(found)
    assert block["mean_iou"] == 1 and block["mean_iou_interval"] is None
    assert {row["iou_interval"] for row in block["per_class"]} == {None}
    settings = {"bootstrap": 1000, "level": 0.95, "units": found.units}
    said = text.intervals(settings | {"unit_of_intervals": found.unit})
    assert said == "no intervals: they need two images, and there is 1 image"


def test_worst_images_come_first_and_few_are_kept():
    shift = lambda index: (0, 4, 2, 6, 0, 1)[index]  # noqa: E731
    found = evaluate(Oracle(shift=shift), Discs(), worst=3)
    assert [judged.index for _, judged in found.worst] == [3, 1, 2]
    scores = [score for score, _ in found.worst]
    assert scores == sorted(scores)
    # Histograms of 150 classes take 40 MB an image.
    assert all(judged.known is None for _, judged in found.worst)
    assert Worst(0).ranked() == []


def test_large_images_are_kept_no_larger_than_they_are_shown():
    class Large(Discs):
        def __getitem__(self, index):
            sample = super().__getitem__(index)
            image, mask = (
                np.kron(a, np.ones(k, np.uint8))
                for a, k in ((sample.image, (60, 40, 1)), (sample.mask, (60, 40)))
            )
            return sample._replace(image=image, mask=mask)

    ((_, judged),) = evaluate(Oracle(), Large(1), bootstrap=0).worst
    assert judged.prediction.shape == judged.sample.mask.shape == (768, 640)
    assert judged.sample.image.shape == (768, 640, 3)
    np.testing.assert_array_equal(judged.prediction, judged.sample.mask)


def test_other_classes_are_refused_with_both_lists():
    other = Oracle(LabelSpace(["background", "nucleus", "cell"]))
    with pytest.raises(
        ValueError, match="background, nucleus, cell. Received: background, cell, n"
    ):
        evaluate(other, Discs())


def test_overlapping_classes_and_no_images_are_refused():
    planes = LabelSpace(["cell", "nucleus"], background=None, exclusive=False)
    with pytest.raises(ValueError, match="The classes of the model exclude each other"):
        run_data.require_classes(SimpleNamespace(labels=Discs().labels), planes)
    with pytest.raises(ValueError, match="no image to evaluate on. Received: an empty split"):
        evaluate(Oracle(), Discs(0))


def test_probabilities_that_are_no_numbers_are_refused():
    class Broken(Oracle):
        def each(self, images):
            for found in super().each(images):
                yield found * np.float32(np.nan)

    with pytest.raises(ValueError, match="needs probabilities, from 0 to 1. Received: nan"):
        evaluate(Broken(), Discs())


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run folder with a model of random weights, and its data: two train, two val, one test."""
    from segkit import models

    folder = tmp_path_factory.mktemp("evaluated")
    root = make(folder / "cells", "ab", ("train", "val"))
    make(root, "z", ("test",))
    run = folder / "run"
    run.mkdir()
    keras.utils.set_random_seed(0)
    models.unet((None, None, 3), 3, filters=2, depth=1).save(run / "model.keras")
    data = {
        "_target_": "segkit.data.folder.splits",
        "root": str(root),
        "size": [8, 12],
        "fit": "resize",
    }
    LabelSpace.from_json(root / "classes.json").to_json(run / "labels.json")
    (run / "config.yaml").write_text(yaml.safe_dump({"data": data}))
    return run, root


def settled(trained, *overrides):
    """The verb without its start-up."""
    return evaluation.run(compose("evaluate", [f"run={trained[0]}", *overrides]))


def table_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_no_spreadsheet_takes_a_name_for_a_formula(tmp_path):
    class Hostile(Discs):
        def __getitem__(self, index):
            return super().__getitem__(index)._replace(name="=1+1")

    found = evaluate(Oracle(), Hostile(2), bootstrap=0)
    labels = LabelSpace(["background", "@cell", "nucleus"])
    columns = {"name": found.names}
    files.write_images(tmp_path / "images.csv", found.known, None, columns, labels)
    files.write_confusion(tmp_path / "confusion.csv", found.known.counts.confusion, labels)
    assert [row["name"] for row in table_of(tmp_path / "images.csv")] == ["'=1+1"] * 2
    assert {row["label"] for row in table_of(tmp_path / "confusion.csv")} >= {"'@cell", "nucleus"}


def test_the_verb_writes_what_it_says(trained):
    blocks = settled(trained)
    folder = trained[0] / "evaluation" / "test"
    assert json.loads((folder / "metrics.json").read_text()) == blocks
    rows = table_of(folder / "images.csv")
    assert [row["name"] for row in rows] == ["z"] and rows[0]["group"] == rows[0]["source"] == ""
    assert float(rows[0]["mean_iou"]) == pytest.approx(blocks["test"]["mean_iou"], abs=1e-5)
    pairs = table_of(folder / "confusion.csv")
    assert sum(int(pair["pixels"]) for pair in pairs) == 8 * 12
    shares = [float(p["share"]) for p in pairs if p["label"] == "cell"]
    assert sum(shares) == pytest.approx(1, abs=1e-5)
    described = json.loads((folder / "worst" / "gallery.json").read_text())
    assert [item["name"] for item in described["items"]] == ["z"]
    assert (folder / "evaluation.html").stat().st_size > 1000
    assert blocks["test"]["settings"]["units"] == 1


def test_other_data_are_brought_to_the_model_as_in_training(trained, caplog):
    """The size of the run unless the user says another one, and then at the size of the files."""
    caplog.set_level("INFO")
    other = "data=folder", f"data.root={trained[1]}", "data.cache=none", "bootstrap=0", "worst=0"
    alike = settled(trained, *other, "split=val")
    assert "as in the training of the run: data.size=[8,12], data.fit=resize" in caplog.text
    assert np.sum(alike["val"]["confusion"]) == 2 * 8 * 12
    full = settled(trained, *other, "data.size=null", "split=all", "output=null")
    assert np.sum(full["all"]["confusion"]) == 5 * 4 * 6
    folder = trained[0] / "evaluation"
    assert {path.name for path in folder.iterdir()} >= {"cells_val", "cells_all"}
    rows = table_of(folder / "cells_all" / "images.csv")
    assert [row["name"] for row in rows] == ["train/a", "train/b", "val/a", "val/b", "test/z"]
    assert "no intervals: bootstrap=0" in caplog.text
    assert not list((folder / "cells_all" / "worst").glob("*.png"))


def test_several_runs_are_one_ensemble(trained):
    runs_ = f"run=[{trained[0]},{trained[0]}]"
    twice = evaluation.run(compose("evaluate", [runs_, "split=val"]))
    once = settled(trained, "split=val")
    assert twice["val"]["confusion"] == once["val"]["confusion"]
    assert (trained[0] / "evaluation" / "val_2_runs" / "metrics.json").exists()


def test_no_temperature_is_said_of_runs_that_have_one_each():
    said = text._tuned({"temperature": None, "thresholds": {}, "score": "iou"})
    assert said == " (with the thresholds of segkit calibrate, each run its own temperature)"


def test_a_run_whose_data_have_a_pixel_size_and_were_resized_is_scored_in_pixels(trained, caplog):
    run = runs.read(trained[0])
    run.config["data"]["pixel_size"] = 0.5
    assert run_data.open_data(run, None).pixel_size is None
    assert "So distances are in pixels" in caplog.text
    run.config["data"]["size"] = None
    assert run_data.open_data(run, None).pixel_size == (0.5, 0.5)


@pytest.mark.parametrize(
    "overrides, message",
    [
        (["split=tset"], "none in the split tset. Received: train (2), val (2), test (1). Take"),
        (["output={run}"], "{run} is the folder of a run, whose metrics.json would be lost."),
        (["level=95"], "level must be a number between 0 and 1. Received: 95."),
        (["tolerance=-1"], "tolerance must be a number from 0 on. Received: -1."),
        (["worst=-1"], "worst must be a whole number from 0 on. Received: -1."),
        (["groups=group"], "groups=group needs a group of two or more images."),
        (["pixel_size=[1,0]"], "pixel_size must be a number above 0, or two: [height, width]."),
        (["decisions=maybe"], "decisions must be true or false. Received: 'maybe'."),
        (["tta=both"], "tta must be one of none, flips, rotations. Received: 'both'."),
        (
            ["data=folder", "data.root={root}", "data.pixel_size=0.5"],
            "data.pixel_size is that of the files, and images that are resized have others. "
            "Received: data.size=[8,12].",
        ),
    ],
)
def test_what_cannot_be_evaluated_is_said_before_anything_is_written(trained, overrides, message):
    places = {"run": trained[0], "root": trained[1]}
    output = trained[0].parent / "nothing"
    chosen = [override.format(**places) for override in overrides]
    if not any(override.startswith("output") for override in chosen):
        chosen.append(f"output={output}")
    with pytest.raises(ValueError, match=re.escape(message.format(**places))):
        settled(trained, *chosen)
    assert not output.exists()


def test_data_that_were_moved_are_named(trained, tmp_path):
    moved = tmp_path / "run"
    moved.mkdir()
    for name in ("model.keras", "labels.json"):
        (moved / name).write_bytes((trained[0] / name).read_bytes())
    data = {"_target_": "segkit.data.folder.splits", "root": str(tmp_path / "gone")}
    (moved / "config.yaml").write_text(yaml.safe_dump({"data": data}))
    with pytest.raises(ValueError, match="cannot be opened: .*gone.* data=folder data.root=PATH"):
        evaluation.run(compose("evaluate", [f"run={moved}"]))


def test_a_config_of_a_run_cannot_run_code(trained, tmp_path):
    stolen = tmp_path / "run"
    stolen.mkdir()
    for name in ("model.keras", "labels.json"):
        (stolen / name).write_bytes((trained[0] / name).read_bytes())
    (stolen / "config.yaml").write_text(yaml.safe_dump({"data": {"_target_": "os.system"}}))
    with pytest.raises(ValueError, match="Received: 'os.system'. Anything else could run any code"):
        evaluation.run(compose("evaluate", [f"run={stolen}"]))


def test_data_pixel_size_counts_where_images_keep_their_size(trained):
    run = runs.read(trained[0])
    options = ["data=folder", f"data.root={trained[1]}", "data.size=null", "data.pixel_size=0.5"]
    found = run_data.open_data(run, compose("evaluate", ["run=x", *options]).data)
    assert found.pixel_size == (0.5, 0.5) and not found.own and found.name == "cells"


def test_only_training_images_leave_no_split_to_score(trained):
    source = Discs(2)
    data = run_data.RunData({"train": source, "val": Discs(0)}, "discs", True, None)
    with pytest.raises(ValueError, match="none in the split val.*Take split=train or split=all"):
        run_data.choose(data, None)
    assert run_data.choose(data, "all") == ("all", source)
    name, both = run_data.choose(data._replace(splits={"train": source, "val": Discs(1)}), "all")
    assert name == "all"
    assert [sample.name for sample in both] == ["train/disc_0", "train/disc_1", "val/disc_0"]
    with pytest.raises(ValueError, match=r"Received: val \(0\)\.$"):
        run_data.choose(data._replace(splits={"val": Discs(0)}), "all")


def test_images_of_joined_data_know_theirs():
    class Joint(Discs):
        def origin(self, index):
            return ("here", "there")[index > 3]

    found = evaluate(Oracle(shift=lambda index: 3 * (index > 3)), Joint(), groups="source")
    assert (found.unit, found.units) == ("source", 2)
    rows = block_of(found)["sources"]
    assert [(row["name"], row["images"]) for row in rows] == [("there", 2), ("here", 4)]
    assert rows[1]["iou"] == {"background": 1, "cell": 1, "nucleus": 1} and rows[0]["mean_iou"] < 1
    both = run_data.Together({"train": Joint(), "val": Discs(2)})
    assert grouping.origins_of(both) == ["here"] * 4 + ["there"] * 2 + [""] * 2


def test_a_data_set_of_one_image_need_not_be_split(trained, tmp_path):
    classes(tmp_path)
    add(tmp_path, "alone")
    other = "data=folder", f"data.root={tmp_path}", "data.cache=none", "split=all"
    blocks = settled(trained, *other, f"output={tmp_path / 'scores'}")
    assert blocks["all"]["images"] == 1 and blocks["all"]["mean_iou_interval"] is None
