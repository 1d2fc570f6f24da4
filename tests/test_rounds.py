"""`segkit rounds`: which trainings run, when they stop, and that the same command goes on."""

import json

import pytest
from omegaconf import OmegaConf

from segkit import rounds, trials
from segkit.config import compose
from segkit.data.folder import splits as folder_splits
from segkit.explaining import NotAll
from segkit.pseudo_labels import NothingUnknown
from segkit.report import rounds_plot

TINY = ["data.sizes={train: 6, val: 4}", "data.height=32", "data.width=32", "model.filters=2"]
TINY += ["model.depth=1", "trainer.epochs=1", "trainer.gallery=1", "callbacks.tensorboard=null"]


@pytest.fixture
def stand_in(monkeypatch):
    """Stands in for trainings, whose scores it is given, and for what completes the data."""
    scores, begun = [], []

    def train(folder, verb, overrides, **_):
        metrics = folder / "metrics.json"
        if metrics.exists():
            return trials.Outcome("finished", trials.mean_iou(folder))
        begun.append((folder.parent.name, list(overrides)))
        score = scores.pop(0)
        if isinstance(score, str):
            return trials.Outcome("failed", error=score)
        folder.mkdir(parents=True)
        blocks = {"val": {"mean_iou": score}, "val/truth": {"mean_iou": score - 0.1}}
        metrics.write_text(json.dumps(blocks))
        return trials.Outcome("finished", score)

    def complete(data, options):
        begun.append(("data", options["run"].split("/")[-2]))
        share = scores.pop(0)
        if share is None:
            raise NothingUnknown
        output = rounds.Path(options["output"])
        output.mkdir(parents=True)
        record = {"share_of_unknown_cells_filled": share}
        (output / "provenance.json").write_text(json.dumps(record))

    monkeypatch.setattr(trials, "run", train)
    monkeypatch.setattr(rounds, "complete", complete)
    monkeypatch.setattr(rounds_plot, "write", lambda *_: None)
    return scores, begun


def go(tmp_path, *typed):
    typed = [*TINY, *typed, f"output={tmp_path / 'out'}"]
    return rounds.do(compose("rounds", typed), typed)


def test_a_round_that_gains_little_is_the_last(tmp_path, stand_in):
    scores, begun = stand_in
    scores += [0.5, 0.9, 0.6, 1.0, 0.601, 1.0, 0.9]
    done = go(tmp_path, "rounds.count=5")
    assert [one.score for one in done] == [0.5, 0.6, 0.601]
    assert [what[0] for what in begun] == ["round_0", "data", "round_1", "data", "round_2"]
    said = json.loads((tmp_path / "out" / "rounds.json").read_text())
    assert said["best"] == 2 and "+0.0010" in said["stopped"]
    assert [round(row["gain"], 3) for row in said["rounds"]] == [0, 0.1, 0.101]
    assert [row["truth"] for row in said["rounds"]] == pytest.approx([0.4, 0.5, 0.501])
    text = rounds.table(done)
    assert "0.6010 *" in text and "+0.1000" in text and "90.0%" in text


def test_the_best_round_is_kept_and_teaches(tmp_path, stand_in):
    scores, begun = stand_in
    scores += [0.5, 1.0, 0.4, 1.0, 0.7]
    done = go(tmp_path, "rounds.count=2", "rounds.gain=-1", "rounds.teacher=last")
    assert [what[1] for what in begun if what[0] == "data"] == ["round_0", "round_1"]
    assert len(done) == 3


def test_a_teacher_does_not_teach_the_same_twice(tmp_path, stand_in):
    scores, begun = stand_in
    scores += [0.5, 1.0, 0.4]
    assert len(go(tmp_path, "rounds.count=4", "rounds.gain=-1")) == 2
    said = json.loads((tmp_path / "out" / "rounds.json").read_text())
    assert said["best"] == 0 and "would repeat round 1" in said["stopped"]


@pytest.mark.parametrize("share, why", [(0.001, "0.1% of the cells"), (None, "no cell is unknown")])
def test_a_round_that_would_fill_little_does_not_begin(tmp_path, stand_in, share, why):
    scores, _ = stand_in
    scores += [0.5, share]
    assert len(go(tmp_path)) == 1
    said = json.loads((tmp_path / "out" / "rounds.json").read_text())
    assert said["stopped"] == f"round 1 would fill too little: {why}"


def test_the_same_command_goes_on(tmp_path, stand_in):
    scores, begun = stand_in
    scores += [0.5, 0.8, "out of memory"]
    with pytest.raises(NotAll, match="training of round 1 failed: out of memory.*goes on"):
        go(tmp_path)
    scores += [0.6, 0.9, 0.7]
    del begun[:]
    assert [one.score for one in go(tmp_path)] == [0.5, 0.6, 0.7]
    assert [what[0] for what in begun] == ["round_1", "data", "round_2"]
    assert len(go(tmp_path)) == 3  # all is there, and nothing begins


def test_another_command_does_not(tmp_path, stand_in):
    scores, _ = stand_in
    scores += [0.5, 0.8, 0.4]
    go(tmp_path)
    with pytest.raises(
        FileExistsError, match="begun with others: overrides was .*trainer.epochs=3"
    ):
        go(tmp_path, "trainer.epochs=3")
    with pytest.raises(FileExistsError, match="begun with others: complete was"):
        go(tmp_path, "complete.doubt=ignore")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    typed = [*TINY, f"output={tmp_path / 'mine'}"]
    with pytest.raises(FileExistsError, match="no folder of segkit rounds"):
        rounds.do(compose("rounds", typed), typed)


def test_settings_that_completed_nothing_can_be_mended(tmp_path, stand_in, monkeypatch):
    scores, begun = stand_in
    scores += [0.5]
    with monkeypatch.context() as patch, pytest.raises(ValueError, match="doubt must be"):
        patch.setattr(rounds, "complete", fails)
        go(tmp_path, "complete.doubt=much")
    scores += [0.8, 0.4]
    assert [one.score for one in go(tmp_path)] == [0.5, 0.4]
    assert [what[0] for what in begun] == ["round_0", "data", "round_1"]


def fails(data, options):
    raise ValueError(f"doubt must be coarse. Received: {options['doubt']}.")


def test_a_damaged_record_costs_no_training(tmp_path, stand_in):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "rounds.json").write_text("{")
    with pytest.raises(ValueError, match="rounds.json cannot be read.*stay as they are"):
        go(tmp_path)


@pytest.mark.parametrize(
    "typed, words",
    [
        ("rounds.count=0", "rounds.count must be a whole number from 1"),
        ("rounds.gain=two", "rounds.gain must be a number from -1 to 1"),
        ("rounds.filled=-1", "rounds.filled must be a number from 0 to 1"),
        ("rounds.teacher=me", "rounds.teacher must be best or last"),
    ],
)
def test_numbers_out_of_range(tmp_path, typed, words):
    with pytest.raises(ValueError, match=words):
        go(tmp_path, typed)


def test_later_rounds_read_the_completed_folder_as_the_first_read_theirs(tmp_path):
    root = tmp_path / "it's [new]"
    for typed in (
        ["experiment=missing", "data.missing.rate=0.3"],
        ["data=folder", "data.root=OLD", "data.size=[32,48]", "data.value_range=[0,100]"],
    ):
        first = compose("train", typed).data
        again = compose("train", [*typed, *rounds.data_overrides(first, root)]).data
        assert again.root == str(root) and again.missing.rate == 0 and again.fold.count is None
        assert set(again) == set(compose("train", ["data=folder", "data.root=X"]).data)
        assert again["_target_"] == f"{folder_splits.__module__.rpartition('.')[0]}.splits"
    assert OmegaConf.to_container(again)["size"] == [32, 48] and again.value_range == [0, 100]
    assert compose("train", [*TINY, *rounds.data_overrides(compose("train", TINY).data, root)])


def test_what_completes_is_told_as_to_segkit_complete():
    rest = {"run", "output", "dry_run", "data", "split", "seed"}
    assert set(compose("rounds").complete) == set(compose("complete", ["output=X"])) - rest


def test_the_plot_is_drawn(tmp_path):
    path = rounds_plot.write(tmp_path / "a.png", [0.5, 0.6], [0.4, None], [0.0, 0.9])
    assert path.stat().st_size > 1000
