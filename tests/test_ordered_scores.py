"""Scores of ordered classes all the way: training, evaluation, report and comparison."""

import csv
import json

import pytest
from evaluated import Discs, Oracle

from segkit import comparison, report, training
from segkit.callbacks import BestModel
from segkit.comparison.scores import falls, values
from segkit.config import compose
from segkit.evaluation import evaluate, text
from segkit.labels import LabelSpace
from segkit.report import facts, plots

LABELS = LabelSpace(["none", "mild", "severe"], values=[0, 1, 5], unit="grade")
TINY = [
    "experiment=ordered",
    "data.sizes={train: 8, val: 4}",
    "data.grades=3",
    "data.coarse=0.5",
    "model.filters=2",
    "model.depth=1",
    "trainer.epochs=1",
    "callbacks.tensorboard=null",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of the preset, as small as it gets."""
    folder = tmp_path_factory.mktemp("ordered") / "run"
    training.run(compose("train", [*TINY, f"output={folder}"]))
    return folder


def test_training_scores_the_order_and_watches_it(run):
    blocks = json.loads((run / "metrics.json").read_text())
    for name in ("val", "val/truth"):  # the truth: shapes of a coarse label, too
        found = blocks[name]["ordered"]
        assert found["mean_absolute_error"] >= 0 and found["quadratic_weighted_kappa"] <= 1
        assert [row["value"] for row in found["per_class"]] == [0, 1, 2, 3]
    assert blocks["val/truth"]["ordered"]["pixels"] > blocks["val"]["ordered"]["pixels"]
    with open(run / "history.csv") as file:
        (row,) = csv.DictReader(file)
    logged = float(row["val_mean_absolute_error"])
    assert logged == pytest.approx(blocks["val"]["ordered"]["mean_absolute_error"], abs=0.02)
    assert {"val_quadratic_weighted_kappa", "val_mean_absolute_error_of_mean"} <= set(row)
    assert json.loads((run / "labels.json").read_text())["values"] == [0, 1, 2, 3]


def test_the_page_of_a_run_says_how_far_off_it_is(run):
    page = report.write(run).read_text()
    assert "How far off: validation images, against known cells" in page
    assert "against the complete truth" in page
    assert page.count("Mean absolute error") >= 4  # tile, curve and two tables


def test_a_loss_that_needs_an_order_is_refused_without_one(tmp_path):
    options = ["data.sizes={train: 8, val: 4}", "loss=earth_movers", f"output={tmp_path}"]
    with pytest.raises(ValueError, match="earth_movers measures.*without values.*classes.json"):
        training.run(compose("train", options))


def test_an_evaluation_scores_the_order_with_intervals():
    wrong = Oracle(LABELS, shift=lambda index: index, sure=0.8)
    blocks = evaluate(wrong, Discs(labels=LABELS, truth=True), bootstrap=50).to_dict("val")
    for name in ("val", "val/truth"):
        found = blocks[name]["ordered"]
        assert set(found) >= {"unit", "pixels", "per_class"} and found["pixels"] == 6 * 16 * 20
        for key in ("mean_absolute_error", "quadratic_weighted_kappa"):
            low, high = found[f"{key}_interval"]
            assert low < found[key] < high
    perfect = evaluate(Oracle(LABELS, sure=0.8), Discs(labels=LABELS)).to_dict("val")["val"]
    found = perfect["ordered"]
    assert found["mean_absolute_error"] == 0 and found["quadratic_weighted_kappa"] == 1
    # Of "none": 0.1 * 1 + 0.1 * 5; of "mild": 0.8 + 0.5 - 1; of "severe": 5 - 4 - 0.1.
    errors = {"none": 0.6, "mild": 0.3, "severe": 0.9}
    pixels = {row["name"]: row["pixels"] for row in perfect["per_class"]}
    expected = sum(errors[n] * k for n, k in pixels.items()) / sum(pixels.values())
    assert found["mean_absolute_error_of_mean"] == pytest.approx(expected)


def test_classes_without_an_order_have_no_such_scores():
    block = evaluate(Oracle(), Discs(), bootstrap=10).to_dict("val")["val"]
    assert "ordered" not in block and facts.ordered({"val": block}) == []
    block["settings"] = {"decisions": None, "bootstrap": 0, "unit": "px", "level": 0.95}
    block["settings"] |= {"units": 6, "unit_of_intervals": "image"}
    assert "in order" not in text.text({"val": block}, "val")


def test_runs_are_compared_by_the_error_and_less_is_better():
    blocks = [{"ordered": {"mean_absolute_error": v}, "per_class": []} for v in (0.5, 0.25)]
    assert values(blocks, "mean_absolute_error") == [0.5, 0.25]
    assert falls("mean_absolute_error") and not falls("quadratic_weighted_kappa")


def test_a_run_is_compared_by_it(run):
    made = comparison.compare([run], score="mean_absolute_error")
    blocks = json.loads((run / "metrics.json").read_text())
    assert made.values == [blocks["val"]["ordered"]["mean_absolute_error"]]


def test_the_curve_of_the_error_is_drawn_for_ordered_classes_alone():
    history = [{"epoch": 1.0, "loss": 1.0, "val_mean_absolute_error": 0.5}]
    titles = [picture["title"] for picture in plots.learning_curves(history, LABELS)]
    assert "Mean absolute error, grade" in titles
    plain = LabelSpace(["none", "mild", "severe"])
    titles = [picture["title"] for picture in plots.learning_curves(history, plain)]
    assert titles == ["Loss"]


def test_the_model_with_the_least_error_is_kept(tmp_path, monkeypatch):
    kept = BestModel(tmp_path / "model.keras", "val_mean_absolute_error", mode="min")
    monkeypatch.setattr(kept, "save", lambda epoch: setattr(kept, "epoch", epoch))
    for epoch, error in enumerate((0.5, 0.3, 0.4, float("nan"))):
        kept.on_epoch_end(epoch, {"loss": 1.0, "val_mean_absolute_error": error})
    assert kept.epoch == 1
    with pytest.raises(ValueError, match="mode must be auto, max or min. Received: 'least'"):
        BestModel(tmp_path / "model.keras", mode="least")


def test_a_page_says_which_model_was_kept_where_another_score_chose_it(run):
    environment = json.loads((run / "environment.json").read_text())
    try:
        (run / "environment.json").write_text(json.dumps({**environment, "best_epoch": 7}))
        assert "The model that was kept is that of epoch 7" in report.write(run).read_text()
    finally:
        (run / "environment.json").write_text(json.dumps(environment))
    assert "The model that was kept" not in report.write(run).read_text()
