"""Runs in folders -> groups, tests, warnings, files."""

import csv
import json
import logging
import subprocess
import sys

import numpy as np
import pytest
from comparison_runs import block, config, dump, write_run

from segkit.comparison import choices, compare, folders, run, scores, writing
from segkit.comparison.curves import of_groups
from segkit.comparison.effects import interactions, main_effects
from segkit.config import compose
from segkit.explaining import NotAll
from segkit.replicates import interval, paired

SEEDS = (0, 1, 2)


def iou(mean):
    return (mean + 0.2, mean, mean - 0.2)


@pytest.fixture
def sweep(tmp_path):
    """2 losses x 2 widths x 3 seeds; scores with an effect of each, and noise of the seeds."""
    number = 0
    for a, loss in enumerate(("cross_entropy", "tversky")):
        for b, filters in enumerate((8, 16)):
            for seed in SEEDS:
                mean = 0.4 + 0.1 * a + 0.05 * b + (0, 0.02, 0.03)[seed] + 0.001 * (seed * b)
                key = {"loss": loss, "seed": seed, "model__filters": filters}
                write_run(tmp_path / str(number), iou(mean), **key)
                number += 1
    return tmp_path


def means(made):
    return {group.label: pytest.approx(group.score.mean) for group in made.groups}


def config_of(*runs, **more):
    pairs = [f"{key}={value}" for key, value in more.items()]
    return compose("compare", [f"runs={json.dumps([str(r) for r in runs])}", *pairs])


# finding


def test_runs_are_found_at_any_depth_once(tmp_path):
    for name in ("b/10", "b/2", "a"):
        write_run(tmp_path / name)
    write_run(tmp_path / "a" / "evaluation" / "copy")  # below a run
    (tmp_path / "link").symlink_to(tmp_path / "b")
    (tmp_path / "b" / "loop").symlink_to(tmp_path)
    found = folders.find([tmp_path, tmp_path / "b" / "2"])
    assert [each.name for each in found.runs] == ["a", "b/2", "b/10"]
    assert [each.name for each in folders.find([tmp_path / "a"]).runs] == ["a"]


def test_what_has_no_scores_is_listed(tmp_path):
    write_run(tmp_path / "0")
    for name, content in {
        "1": {"status": "failed", "error": "out of memory", "overrides": ["seed=1"]},
        "2": {"status": "running", "error": None, "overrides": []},
        "3": {"status": "finished", "error": None, "overrides": "odd"},
    }.items():
        (tmp_path / name).mkdir()
        dump(tmp_path / name / "trial.json", content)
    write_run(tmp_path / "4")
    (tmp_path / "4" / "metrics.json").unlink()
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "config.yaml").write_text("a: 1")  # somebody's own
    dump(tmp_path / "sweep.json", {"trials": {"0": [], "9": ["seed=9"]}})
    found = folders.find([tmp_path])
    told = [(t["name"], t["status"], t["error"], t["overrides"]) for t in found.unfinished]
    assert told == [
        ("9", "missing", "not begun", "seed=9"),
        ("1", "failed", "out of memory", "seed=1"),
        ("2", "running", "at work, or killed", ""),
        ("3", "finished", "config.yaml or metrics.json is missing", ""),
        ("4", "unfinished", "training has not finished, or was stopped", ""),
    ]
    assert len(found.runs) == 1 and not found.damaged


DAMAGE = {
    "metrics.json": ("{", "[]", '{"val": 3}', "{}", "[" * 100_000),
    "config.yaml": ("a: [", "- 1", "\x00", "&a [*a]"),
}
BOMB = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefg", "bcdefgh")
)


@pytest.mark.parametrize(
    "name, text",
    [(name, text) for name, texts in DAMAGE.items() for text in texts] + [("config.yaml", BOMB)],
)
def test_damaged_files_are_named_and_the_others_go_on(tmp_path, name, text, caplog):
    write_run(tmp_path / "good")
    write_run(tmp_path / "bad")
    (tmp_path / "bad" / name).write_text(text)
    with pytest.raises(NotAll, match=f"1 of 2 runs could not be read .*bad/{name}"):
        run(config_of(tmp_path))
    table = (tmp_path / "comparison" / "runs.csv").read_text().splitlines()
    assert len(table) == 2 and table[1].startswith("good,")
    assert "damaged" in (tmp_path / "comparison" / "comparison.html").read_text()


def test_wrong_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder .*nowhere"):
        compare([tmp_path / "nowhere"])
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="file is a file"):
        compare([tmp_path / "file"])
    with pytest.raises(ValueError, match="Received: none"):
        compare([])
    (tmp_path / "1").mkdir()
    dump(tmp_path / "1" / "trial.json", {"status": "failed", "error": "no GPU"})
    with pytest.raises(
        ValueError, match=r"no finished run .* 1 did not finish: 1 \(failed\) no GPU"
    ):
        compare([tmp_path])


def test_sweeps_are_read_in_their_order(tmp_path):
    for name in ("a", "b", "c"):
        write_run(tmp_path / name)
    dump(tmp_path / "sweep.json", {"trials": {"c": [], "a": [], "b": []}})
    assert [each.name for each in folders.find([tmp_path]).runs] == ["c", "a", "b"]
    (tmp_path / "sweep.json").write_text("{")
    found = folders.find([tmp_path])
    assert [each.name for each in found.runs] == ["a", "b", "c"]
    assert "sweep.json is not valid JSON" in found.damaged[0][1]


def test_folders_are_asked_for():
    with pytest.raises(ValueError, match="segkit compare DIR"):
        run(compose("compare"))


# keys


def columns(*configs, overrides=()):
    found = choices.differing(list(configs), ("seed",), overrides)
    return {column.key: column.values for column in found}


def test_seeds_places_and_what_follows_from_them_do_not_differ(tmp_path):
    one = config(tmp_path / "a", seed=0, trainer__resume=True)
    other = config(tmp_path / "b", seed=1, trainer__resume=False)
    assert columns(one, other) == {}
    assert columns(one, {**other, "data": {**other["data"], "seed": 7}}) == {
        "data.seed": ("0", "7")
    }


def test_another_node_is_shown_by_its_name(tmp_path):
    made = [config(tmp_path, loss) for loss in ("cross_entropy", "tversky", "sum")]
    names = ("CrossEntropy", "Tversky", "MarginalCrossEntropy + MarginalDice")
    assert columns(*made) == {"loss": names}


def test_keys_below_a_node_only_where_its_name_is_the_same(tmp_path):
    made = [config(tmp_path, loss) for loss in ("cross_entropy", "tversky", "tversky")]
    made[2]["loss"] = {**made[2]["loss"], "alpha": 0.7}
    assert columns(*made) == {
        "loss": ("CrossEntropy", "Tversky", "Tversky"),
        "loss.alpha": (None, "0.3", "0.7"),
    }


def test_terms_of_a_sum_are_compared_one_by_one(tmp_path):
    made = [config(tmp_path, "sum") for _ in range(2)]
    made[1]["loss"]["losses"][1]["smooth"] = 1.0
    assert columns(*made) == {"loss.losses.1.smooth": (None, "1")}


def test_names_that_are_the_same_hide_no_difference(tmp_path):
    made = [config(tmp_path, {"_target_": f"segkit.losses.{m}.Loss"}) for m in ("one", "two")]
    assert columns(*made) == {"loss._target_": ("segkit.losses.one.Loss", "segkit.losses.two.Loss")}


def test_what_was_there_and_what_was_not(tmp_path):
    made = [config(tmp_path, model__extra=extra) for extra in (None, {"a": 1}, {"a": 2})]
    assert columns(*made) == {
        "model.extra": ("null", "other", "other"),
        "model.extra.a": (None, "1", "2"),
    }
    del made[0]["model"]["extra"]
    assert columns(*made)["model.extra"] == (None, "other", "other")


def test_1_and_1_point_0_are_the_same(tmp_path):
    assert columns(config(tmp_path, trainer__ema=1), config(tmp_path, trainer__ema=1.0)) == {}


def test_choices_that_have_one_class_take_the_name_they_were_given(tmp_path):
    made = [config(tmp_path) for _ in range(3)]
    made[1]["augment"] = {**made[1]["augment"], "transforms": {}}
    told = [["augment=light"], ["augment=none"], ["augment=light"]]
    assert columns(*made, overrides=told) == {"augment": ("light", "none", "light")}
    assert "augment.transforms.flip" in columns(*made, overrides=[*told[:2], []]) or (
        "augment.transforms" in columns(*made, overrides=[*told[:2], []])
    )


# groups and tests


def test_groups_means_and_intervals(sweep):
    made = compare([sweep])
    assert [column.key for column in made.columns] == ["model.filters", "loss"]
    assert means(made) == {
        "filters=16, Tversky": 0.55 + 0.05 / 3 + 0.001,
        "filters=8, Tversky": 0.5 + 0.05 / 3,
        "filters=16, CrossEntropy": 0.45 + 0.05 / 3 + 0.001,
        "filters=8, CrossEntropy": 0.4 + 0.05 / 3,
    }
    assert list(means(made))[0] == "filters=16, Tversky"
    expected = interval([0.5, 0.52, 0.53])
    found = made.groups[1].score
    assert (found.low, found.high, found.n) == pytest.approx((expected.low, expected.high, 3))


def test_without_a_baseline_all_are_tested_against_the_first_run(sweep):
    made = compare([sweep])
    assert {made.groups[test.against].label for test in made.tests} == {"filters=8, CrossEntropy"}
    by_label = {made.groups[test.group].label: test for test in made.tests}
    test = by_label["filters=16, CrossEntropy"]
    expected = paired([0.05, 0.051, 0.052])
    assert test.pairs.p == pytest.approx(expected.p) and test.pairs.exact == 0.25
    assert test.pairs.difference.mean == pytest.approx(0.051)
    assert by_label["filters=8, Tversky"].pairs.p is None  # all differences are 0.1
    assert test.p == pytest.approx(2 * expected.p) or test.p == pytest.approx(expected.p)


@pytest.mark.parametrize(
    "baseline", [{"loss": "cross_entropy"}, "loss=CrossEntropy", {"loss": "CrossEntropy"}]
)
def test_part_of_the_keys_pairs_groups_that_share_the_others(sweep, baseline):
    made = compare([sweep], baseline=baseline)
    found = {made.groups[t.group].label: made.groups[t.against].label for t in made.tests}
    assert found == {f"filters={n}, Tversky": f"filters={n}, CrossEntropy" for n in (8, 16)}


def test_a_baseline_as_it_was_typed(tmp_path):
    for name, loss in {"0": "sum", "1": "tversky"}.items():
        write_run(tmp_path / name, loss=loss)
        dump(tmp_path / name / "trial.json", {"overrides": [f"loss=my_{loss}"]})
    made = compare([tmp_path], baseline={"loss": "my_tversky"})
    assert made.groups[made.tests[0].against].label == "Tversky"


def test_baselines_that_are_not_there(sweep):
    with pytest.raises(ValueError, match="There are: loss: .*CrossEntropy"):
        compare([sweep], baseline={"loss": "dice"})
    with pytest.raises(ValueError, match="do not differ in 'trainer.epochs'.*model.filters, loss"):
        compare([sweep], baseline="trainer.epochs=3")
    with pytest.raises(ValueError, match="selects by values.*Received: 3"):
        compare([sweep], baseline=3)


def test_other_seeds_have_no_pairs_and_nothing_is_tested(tmp_path):
    for seed in (0, 1):
        write_run(tmp_path / f"a{seed}", iou(0.5), seed=seed)
        write_run(tmp_path / f"b{seed}", iou(0.6), loss="tversky", seed=seed + 2)
    made = compare([tmp_path])
    assert made.tests[0].pairs.difference.n == 0 and made.tests[0].p is None
    assert "no seed is the same in both" in made.verdict["text"]
    assert made.verdict["apart"] is None


def test_one_run_each_is_said_to_prove_nothing(tmp_path):
    write_run(tmp_path / "a", iou(0.5))
    write_run(tmp_path / "b", iou(0.6), loss="tversky")
    made = compare([tmp_path])
    assert made.groups[0].score.low is None
    assert "one pair of runs (+0.1000)" in made.verdict["text"]
    assert "seed=0,1,2" in made.verdict["text"] and made.verdict["apart"] is None


def test_the_winner_is_told_from_the_second_only_if_it_can_be(tmp_path):
    noise = (0.0, 0.02, -0.01, 0.03)
    for seed, extra in enumerate(noise):
        write_run(tmp_path / f"a{seed}", iou(0.5 + extra), seed=seed)
        write_run(tmp_path / f"b{seed}", iou(0.6 + extra + 0.002 * seed), loss="tversky", seed=seed)
        write_run(tmp_path / f"c{seed}", iou(0.61 - extra), loss="sum", seed=seed)
    made = compare([tmp_path])
    assert "Best: Tversky" in made.verdict["text"] and made.verdict["apart"] is False
    assert "not told apart" in made.verdict["text"] and "4 pairs" in made.verdict["text"]
    two = compare([tmp_path / f"{name}{seed}" for seed in range(4) for name in "ab"])
    assert two.verdict["apart"] is True and "are told apart" in two.verdict["text"]


def test_the_same_config_and_seed_twice_is_no_repetition(tmp_path):
    for name, mean in {"a": 0.5, "copy": 0.6}.items():
        write_run(tmp_path / name, iou(mean))
    made = compare([tmp_path])
    assert made.groups[0].score.n == 1 and made.groups[0].score.mean == pytest.approx(0.55)
    assert "copy and a" in made.doubts[0] and "count once" in made.doubts[0]


def test_runs_without_a_seed_are_all_repetitions_and_have_no_partner(tmp_path):
    for name in "abc":
        write_run(tmp_path / name, seed=None)
    write_run(tmp_path / "d", loss="tversky", seed=None)
    made = compare([tmp_path])
    assert sorted(group.score.n for group in made.groups) == [1, 3]
    assert made.tests[0].pairs.difference.n == 0


def test_keys_that_are_left_out_are_said(sweep):
    made = compare([sweep], by=["loss"])
    assert [group.score.n for group in made.groups] == [6, 6]
    assert any("differ in model.filters" in text for text in made.doubts)
    assert made.tests[0].pairs.difference.n == 6  # paired by seed and width
    same = compare([sweep], by=["trainer.epochs", "loss"])
    assert same.groups[0].label == "epochs=4, Tversky"
    with pytest.raises(ValueError, match="No run has the key 'trainer.epoch'"):
        compare([sweep], by=["trainer.epoch"])


def test_without_differences_there_is_one_group(tmp_path):
    for seed in SEEDS:
        write_run(tmp_path / str(seed), iou(0.5 + 0.01 * seed), seed=seed)
    made = compare([tmp_path])
    assert len(made.groups) == 1 and made.tests == [] and made.columns == []
    assert "It is the only group" in made.verdict["text"]


@pytest.mark.parametrize("level", [0, 1, "high", True])
def test_levels_that_are_none(tmp_path, level):
    write_run(tmp_path / "a")
    with pytest.raises(ValueError, match="level must be above 0 and below 1"):
        compare([tmp_path], level=level)


# scores


@pytest.mark.parametrize(
    "score, value", [("mean_iou", 0.6), ("iou_nucleus", 0.3), ("dice_cell", 0.75), ("truth", 0.2)]
)
def test_scores(tmp_path, score, value):
    blocks = {"val": block((0.9, 0.6, 0.3)), "val/truth": block((0.2, 0.2, 0.2))}
    write_run(tmp_path / "a", blocks=blocks)
    assert compare([tmp_path], score=score).values == [pytest.approx(value)]


def test_scores_that_are_not_there(tmp_path):
    write_run(tmp_path / "a")
    with pytest.raises(ValueError, match="'mean_iuo'. Did you mean 'mean_iou'"):
        compare([tmp_path], score="mean_iuo")
    with pytest.raises(ValueError, match="split 'test'. There are: val"):
        compare([tmp_path], split="test")
    with pytest.raises(ValueError, match="against the truth of 'val'"):
        compare([tmp_path], score="truth")


def test_a_class_without_evidence_is_none_and_not_0(tmp_path):
    write_run(tmp_path / "a", (0.9, 0.6, None))
    write_run(tmp_path / "b", (0.9, 0.6, None), seed=1)
    write_run(tmp_path / "c", (0.9, 0.6, 0.3), loss="tversky")
    made = compare([tmp_path], score="iou_nucleus")
    assert [group.score.mean for group in made.groups] == [0.3, None]
    assert made.groups[1].per_class["nucleus"]["iou"] is None
    assert any("2 of 3 runs have no iou_nucleus" in text for text in made.doubts)


def test_what_evaluate_wrote_counts(tmp_path):
    path = write_run(tmp_path / "a") / "evaluation" / "test"
    path.mkdir(parents=True)
    dump(path / "metrics.json", {"test": {**block((0.5, 0.5, 0.5)), "ece": 0.1}})
    write_run(tmp_path / "b", loss="tversky")
    made = compare([tmp_path], split="test")
    assert made.values == [pytest.approx(0.5), None]
    assert any("1 of 2 runs have no scores of test" in text for text in made.doubts)


def test_of_errors_less_is_better(tmp_path):
    for name, ece in {"cross_entropy": 0.1, "tversky": 0.3}.items():
        write_run(tmp_path / name, loss=name, blocks={"val": {**block((0.5,)), "ece": ece}})
    assert compare([tmp_path], score="ece").groups[0].label == "CrossEntropy"
    assert scores.falls("mean_surface_distance_cell") and not scores.falls("iou_loss")


def test_what_evaluate_nests_is_a_score_too(tmp_path):
    for name, ece in {"cross_entropy": 0.1, "tversky": 0.3}.items():
        made = {**block((0.5, 0.5)), "calibration": {"ece": ece, "mce": 0.4}}
        made["per_class"][1]["surface_dice"] = {"median": 0.0, "mean": ece, "images": 2}
        write_run(tmp_path / name, loss=name, blocks={"val": made})
    assert compare([tmp_path], score="ece").groups[0].label == "CrossEntropy"
    assert compare([tmp_path], score="surface_dice_cell").groups[0].label == "Tversky"


# do they compare?


def test_what_evaluate_was_asked_otherwise_is_said(tmp_path):
    for name, tta in {"cross_entropy": "none", "tversky": "flips"}.items():
        asked = {"tta": tta, "tolerance": 2.0, "decisions": None}
        write_run(tmp_path / name, loss=name, blocks={"val": {**block((0.5,)), "settings": asked}})
    (text,) = compare([tmp_path]).doubts
    assert "scored the runs differently" in text and text.endswith(": tta differs.")


def test_other_classes_are_said(tmp_path):
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", names=("background", "cell", "other"), loss="tversky")
    (text,) = compare([tmp_path]).doubts
    assert "different classes" in text and "background, cell, other" in text


def test_exclusive_and_independent_classes_do_not_compare(tmp_path):
    write_run(tmp_path / "a")
    path = write_run(tmp_path / "b", loss="tversky") / "labels.json"
    labels = json.loads(path.read_text()) | {"exclusive": False, "background": None}
    path.write_text(json.dumps(labels))
    (text,) = compare([tmp_path]).doubts
    assert "In some runs a pixel has one class, in others classes may overlap" in text


def test_other_evidence_is_said_with_the_key(tmp_path):
    write_run(tmp_path / "a", blocks={"val": block((0.5,))}, data__sizes__val=32)
    write_run(tmp_path / "b", blocks={"val": block((0.5,), pixels=7)}, data__sizes__val=64)
    (text,) = compare([tmp_path]).doubts
    assert "different data" in text and "data.sizes.val differs" in text
    write_run(tmp_path / "b", blocks={"val": block((0.5,), pixels=7)}, loss="tversky")
    write_run(tmp_path / "a", blocks={"val": block((0.5,))})
    (text,) = compare([tmp_path]).doubts
    assert "the config of the data is the same" in text


def test_more_training_images_do_no_harm(tmp_path):
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", data__sizes__train=960)
    assert compare([tmp_path]).doubts == []


def test_data_that_follow_the_seed_do_no_harm(tmp_path):
    for seed in SEEDS:
        write_run(tmp_path / f"{seed}", seed=seed, blocks={"val": block((0.5,), pixels=seed)})
    assert compare([tmp_path]).doubts == []


def test_other_shares_of_annotations_point_at_the_truth(tmp_path):
    for rate in (0.3, 0.7):
        blocks = {"val": block((0.5,), pixels=int(100 * rate)), "val/truth": block((0.5,))}
        write_run(tmp_path / str(rate), blocks=blocks, data__missing__rate=rate)
    (text,) = compare([tmp_path]).doubts
    assert "data.missing.rate differs" in text and "score=truth" in text
    assert compare([tmp_path], score="truth").doubts == []


# effects and curves


def test_effects_average_the_other_keys(sweep):
    made = compare([sweep])
    found = {e["key"]: dict(e["rows"]) for e in main_effects(made.groups, made.columns, 0.95)}
    widths, losses = found["model.filters"], found["loss"]
    assert widths["8"].mean == pytest.approx(0.45 + 0.05 / 3)
    assert losses["Tversky"].mean - losses["CrossEntropy"].mean == pytest.approx(0.1)
    assert losses["Tversky"].n == 3  # seeds, not runs
    assert losses["Tversky"].half < 1e-6  # the seeds' own level is no part of the effect
    (crossed,) = interactions(made.groups, made.columns, 0.95)
    assert crossed["keys"] == ("model.filters", "loss") and crossed["rows"] == ["8", "16"]
    assert crossed["cells"][0][1].mean == pytest.approx(0.5 + 0.05 / 3)


def test_a_value_without_its_hard_combinations_gets_no_credit(sweep, tmp_path):
    """Tversky was not run at 8 filters with seed 0: there, nobody counts."""
    for folder in sweep.iterdir():
        text = (folder / "config.yaml").read_text()
        if "Tversky" in text and "filters: 8\n" in text and "\nseed: 0\n" in text:
            (folder / "metrics.json").unlink()
    made = compare([sweep])
    effects = {e["key"]: e for e in main_effects(made.groups, made.columns, 0.95)}
    rows = dict(effects["loss"]["rows"])
    assert effects["loss"]["balanced"]
    assert rows["Tversky"].mean - rows["CrossEntropy"].mean == pytest.approx(0.1)


def test_designs_that_share_nothing_are_said_to_be_unbalanced(tmp_path):
    write_run(tmp_path / "a", model__filters=8)
    write_run(tmp_path / "b", model__filters=16, loss="tversky")
    made = compare([tmp_path])
    assert not any(e["balanced"] for e in main_effects(made.groups, made.columns, 0.95))
    assert interactions(made.groups, made.columns, 0.95) == []


def test_a_search_gives_points(tmp_path):
    for number, rate in enumerate(np.geomspace(1e-4, 1e-1, 12)):
        write_run(tmp_path / str(number), optimizer__learning_rate=float(rate))
    made = compare([tmp_path])
    (effect,) = main_effects(made.groups, made.columns, 0.95)
    assert len(effect["points"]) == 12 and effect["logarithmic"]


def test_curves_end_where_the_first_run_does(tmp_path):
    write_run(tmp_path / "a", (0.8,) * 3, epochs=4)
    write_run(tmp_path / "b", (0.6,) * 3, epochs=2, seed=1)
    write_run(tmp_path / "c", seed=2)
    (tmp_path / "c" / "history.csv").unlink()
    made = compare([tmp_path])
    found = of_groups(made.groups, made.found.runs, "mean_iou", "val")
    (curve,) = found["curves"]
    assert curve["epochs"] == [1, 2] and curve["n"] == 2 and found["left_out"] == ["c"]
    assert curve["mean"] == pytest.approx([0.25, 0.5])
    assert (curve["low"], curve["high"]) == (pytest.approx([0.2, 0.4]), pytest.approx([0.3, 0.6]))


# files


def test_files_and_the_terminal(sweep, caplog):
    with caplog.at_level(logging.INFO):
        run(config_of(sweep, baseline="{loss:cross_entropy}"))
    folder = sweep / "comparison"
    assert sorted(path.name for path in folder.iterdir()) == [
        "comparison.csv",
        "comparison.html",
        "comparison.tex",
        "runs.csv",
    ]
    with open(folder / "comparison.csv") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["loss"] == "Tversky" and rows[0]["n"] == "3" and rows[0]["pairs"] == "3"
    assert float(rows[0]["mean_iou_mean"]) == pytest.approx(0.551 + 0.05 / 3)
    assert rows[-1]["p"] == "" and float(rows[-1]["iou_nucleus"]) == pytest.approx(0.2 + 0.05 / 3)
    with open(folder / "runs.csv") as file:
        assert [row["seed"] for row in csv.DictReader(file)] == ["0", "1", "2"] * 4
    assert "Best: filters=16, Tversky" in caplog.text and "baseline" in caplog.text
    again = compare([sweep])  # what was written is no run
    assert len(again.found.runs) == 12 and not again.found.unfinished


def test_below_a_run_nothing_is_written(tmp_path):
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", loss="tversky")
    run(config_of(tmp_path / "a", tmp_path / "b"))
    assert (tmp_path / "comparison" / "comparison.html").exists()
    run(config_of(tmp_path / "a", output=tmp_path / "else" / "where"))
    assert (tmp_path / "else" / "where" / "runs.csv").exists()
    with pytest.raises(OSError, match="Cannot write to .*output=DIR"):
        run(config_of(tmp_path, output=tmp_path / "a" / "config.yaml" / "x"))


HOSTILE = r"\input{/etc/passwd} <script>alert(1)</script> =1+1 $x$ %&_#~^ " + "\x1b[31m\u202e"


def test_names_run_nothing_anywhere(tmp_path, caplog):
    write_run(tmp_path / "a", names=("background", "cell", HOSTILE[:40].strip()))
    write_run(tmp_path / "b", loss={"_target_": "x", "name": HOSTILE})
    (tmp_path / "c").mkdir()
    dump(tmp_path / "c" / "trial.json", {"status": HOSTILE, "error": HOSTILE})
    with caplog.at_level(logging.INFO):
        run(config_of(tmp_path))
    folder = tmp_path / "comparison"
    page, tex = ((folder / name).read_text() for name in ("comparison.html", "comparison.tex"))
    assert "<script>alert" not in page and "&lt;script&gt;alert" in page
    assert r"\input" not in tex and r"\textbackslash{}input\{/etc/passwd\}" in tex
    assert "\x1b" not in caplog.text + tex and "\u202e" not in caplog.text + tex


@pytest.mark.parametrize(
    "text, expected",
    [
        ("a_b", r"a\_b"),
        ("[1, 2]", "{[}1, 2]"),
        ("50 %\n\\end{tabular}", r"50 \% \textbackslash{}end\{tabular\}"),
        ("$x^2$ ~ #1 & *", r"\$x\textasciicircum{}2\$ \textasciitilde{} \#1 \& {*}"),
    ],
)
def test_latex(text, expected):
    assert writing.latex(text) == expected


@pytest.mark.parametrize("text", ["=1+1", "@x", "+cmd", "-cmd"])
def test_cells_are_no_formulas(text):
    assert writing.cell(text) == f"'{text}" and writing.cell("-1.5") == "-1.5"


def test_latex_has_as_many_cells_as_columns(sweep):
    run(config_of(sweep))
    lines = (sweep / "comparison" / "comparison.tex").read_text().splitlines()
    assert lines[0] == r"\begin{tabular}{llrrrr}" and lines[-1] == r"\end{tabular}"
    body = [line for line in lines if line.endswith(r"\\")]
    assert len(body) == 5 and {line.count(" & ") for line in body} == {5}
    assert body[1].startswith(r"16 & Tversky & 3 & $\mathbf{0.568} \pm ")


def test_it_starts_without_tensorflow():
    code = (
        "import sys, segkit.comparison; print({'tensorflow', 'keras', 'pandas'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_path_that_begins_like_the_output_is_not_inside_of_it(tmp_path):
    configs = [
        {"output": output, "seed": seed, "data": {"root": "larynx_data"}, "log": f"{output}/log"}
        for seed, output in enumerate(("larynx", "larynx2"))
    ]
    assert choices.differing(configs) == []


def test_the_level_of_intervals_is_not_rounded(sweep, caplog):
    with caplog.at_level(logging.INFO):
        keys = [f"runs={sweep}", f"output={sweep.parent / 'out'}", "replicates=seed"]
        made = run(compose("compare", [*keys, "level=0.995"]))
    assert "99.5 % interval" in caplog.text
    assert max(group.score.n for group in made.groups) > 1


def test_scores_that_only_evaluate_knows_are_found_on_val_too(tmp_path):
    for number in (1, 2):
        run = write_run(tmp_path / f"run{number}", seed=number)
        blocks = json.loads((run / "metrics.json").read_text())
        blocks["val"]["calibration"] = {"ece": number / 100}
        (run / "evaluation" / "val").mkdir(parents=True)
        (run / "evaluation" / "val" / "metrics.json").write_text(json.dumps(blocks))
    assert sorted(compare([tmp_path], score="ece").values) == [0.01, 0.02]
    assert compare([tmp_path]).values != [0.01, 0.02]
