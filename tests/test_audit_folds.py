"""Audits out of fold: trained in processes of their own, resumed, and what is refused."""

import csv
import json

import folder_data
import numpy as np
import pytest
import yaml
from audited import empty, square, write_folder
from small_runs import write_run

from segkit import audit, runs, trials
from segkit.audit import crossing, manifest
from segkit.config import compose
from segkit.explaining import NotAll
from segkit.run_data import open_data

SMALL = ["model=unet_small", "model.filters=2", "model.depth=1", "trainer.epochs=1"]


def settings(*given):
    """The config of a training, as plain as config.yaml holds it."""
    from omegaconf import OmegaConf

    return OmegaConf.to_container(compose("train", list(given)), resolve=True)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run with odd names in its config, whose model has not learnt anything."""
    folder = tmp_path_factory.mktemp("out of fold")
    names = ["background", "célula, {a: b}", "nucleus"]
    masks = [square(square(empty((16, 16)), 1, i, 2), 2, 9, i) for i in range(9)]
    pairs = [(ids, np.where(ids == i % 3, 0, ids).astype(np.uint8)) for i, ids in enumerate(masks)]
    root = write_folder(folder / "set", [f"image {i}" for i in range(9)], pairs, names=names)
    given = ["data=folder", "data.size=null", "data.cache=none", *SMALL, "loss=cross_entropy"]
    config = settings(*given, f"data.root='{root}'", f"output='{folder / 'run'}'")
    config["data"]["missing"]["rate"] = {names[1]: 0.2}
    run = write_run(folder / "run", names=names)
    (run / "config.yaml").write_text(yaml.safe_dump(config, allow_unicode=True))
    return run, config


@pytest.fixture(scope="module")
def audited(trained):
    run, _ = trained
    before = (run / "model.keras").read_bytes()
    given = [
        f"run='{run}'",
        "audit.folds=2",
        "audit.training={trainer.batch_size: 3, schedule: constant}",
    ]
    result = audit.run(compose("audit", given))
    assert (run / "model.keras").read_bytes() == before
    return result, given


def test_each_image_is_judged_by_a_model_that_never_saw_it(trained, audited):
    run, _ = trained
    result, _ = audited
    assert result["images"] == 9 and result["settings"]["folds"] == 2
    held = []
    for k in range(2):
        rows = csv.DictReader((run / f"audit/folds/fold_{k}/splits.csv").read_text().splitlines())
        held.append({row["image"] for row in rows if row["split"] == "val"})
    assert held[0] | held[1] == {f"image {i}" for i in range(9)} and not held[0] & held[1]
    rows = list(csv.DictReader((run / "audit/audit.csv").read_text().splitlines()))
    empty_cells = {f"image {i}" for i in range(9) if i % 3}  # in the others both classes are drawn
    assert {row["image"] for row in rows if row["kind"] == "missing"} == empty_cells


def test_the_trainings_have_the_config_of_the_run(trained, audited):
    run, config = trained
    found = yaml.safe_load((run / "audit/folds/fold_1/config.yaml").read_text())
    expected = json.loads(json.dumps(config))
    expected["data"]["fold"] = {"count": 2, "held": 1, "seed": 0}
    expected["trainer"]["batch_size"] = 3
    expected["schedule"] = settings("schedule=constant")["schedule"]
    expected["output"] = found["output"]
    # What a run writes into its folder, a training of the audit writes into its own.
    for text in ("filepath", "filename", "log_dir"):
        for node in expected["callbacks"].values():
            if isinstance(node, dict) and str(node.get(text, "")).startswith(config["output"]):
                node[text] = node[text].replace(config["output"], found["output"])
    assert found == expected
    assert config["output"] + "/" not in json.dumps(found).replace(found["output"], "")


def test_the_same_command_trains_nothing_twice(trained, audited, monkeypatch):
    _, given = audited
    before = trials.run
    outcomes = []
    monkeypatch.setattr(trials, "run", lambda *a: outcomes.append(before(*a)) or outcomes[-1])
    audit.run(compose("audit", [*given, "split=val"]))
    assert [(o.status, round(o.seconds)) for o in outcomes] == [("finished", 0)] * 2


def test_a_training_that_fails_is_told(trained, tmp_path, monkeypatch):
    run, _ = trained
    failed = trials.Outcome("failed", error="out of paper")
    monkeypatch.setattr(trials, "run", lambda *_: failed)
    opened = runs.read(run)
    with pytest.raises(NotAll, match="fold 0 in .* did not finish: out of paper. The same command"):
        crossing.train(opened, opened.config["data"], tmp_path, 2)


@pytest.mark.parametrize(
    "given, words",
    [
        (["audit.folds=1"], "audit.folds must be 2 or more, 0 or auto. Received: 1"),
        (["audit.folds=some"], "audit.folds must be a whole number from 0 on"),
        (["audit.folds=10"], "data.fold.count=10 needs at least 10 images .*Received: 9"),
        (["split=test"], "split must be one of all, train, val. Received: test. audit.folds=0"),
        (["audit.folds=0", "split=test"], "split must be one of all, train, val. Received: test"),
        (
            ["audit.folds=0", "audit.training={seed: 1}"],
            "Received: {'seed': 1} with audit.folds=0",
        ),
        (["audit.training=3"], "audit.training holds keys with values.* Received: 3"),
        (["audit.page=-1"], "audit.page must be a whole number from 0 on"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_trained(trained, given, words):
    with pytest.raises(ValueError, match=words):
        audit.run(compose("audit", [f"run='{trained[0]}'", *given]))


def test_folds_take_one_run_and_no_run_is_written_over(trained):
    run = trained[0]
    with pytest.raises(ValueError, match="config of one run. Received: 2 runs"):
        audit.run(compose("audit", [f"run=['{run}','{run}']", "audit.folds=2"]))
    with pytest.raises(ValueError, match="is the folder of a run"):
        audit.run(compose("audit", [f"run='{run}'", f"output='{run}'"]))


def test_other_data_are_predicted_by_the_run_itself(trained, tmp_path):
    run, config = trained
    other = write_folder(
        tmp_path / "other", ["one"], [(empty((8, 40)), empty((8, 40)))], names=config_names(run)
    )
    given = [f"run='{run}'", "data=folder", f"data.root={other}", "data.split.val=0.0"]
    result = audit.run(compose("audit", [*given, "data.cache=none"]))
    assert (result["images"], result["settings"]["folds"], result["settings"]["own"]) == (
        1,
        0,
        False,
    )
    rows = list(csv.DictReader((run / "audit/other/audit.csv").read_text().splitlines()))
    assert [row["score"] for row in rows] == ["", ""]  # nobody drew anything


def config_names(run):
    return runs.read(run).labels.names


def test_a_damaged_file_is_named(trained, tmp_path):
    run, _ = trained
    other = write_folder(
        tmp_path / "other", "ab", [(empty(), empty())] * 2, names=config_names(run)
    )
    (other / "images/b.png").write_bytes(b"no PNG")
    given = [f"run='{run}'", "data=folder", f"data.root={other}", "data.cache=none"]
    with pytest.raises(ValueError, match="b.png"):
        audit.run(compose("audit", given))


def test_scenes_have_no_manifest_and_the_page_says_so(tmp_path):
    data = settings("data.sizes={train: 3, val: 2}", "data.height=16", "data.width=20")["data"]
    run = write_run(
        tmp_path / "run", data=data, names=["background", "ellipse", "rectangle", "circle"]
    )
    result = audit.run(compose("audit", [f"run={run}", "audit.folds=0", "audit.page=4"]))
    assert result["images"] == 5
    page = (run / "audit/audit.html").read_text()
    assert "These data have no annotations.csv" in page and "Save annotations.csv" not in page
    assert "The 4 most doubtful of" in page


def test_the_manifest_names_images_beyond_the_limit(tmp_path):
    root = folder_data.make(tmp_path / "set", "abcdef", ("train", "val"))
    data = settings("data=folder", f"data.root={root}", "data.limit=2", "data.cache=none")["data"]
    run = write_run(tmp_path / "run", data=data)
    opened = open_data(runs.read(run), None)
    found = manifest.start(data, opened.splits)
    assert [entry.image for entry in found.entries] == [
        f"{split}/{stem}" for split in ("train", "val") for stem in "abcdef"
    ]
    for split, lines in found.lines.items():
        names = [found.entries[line].image for line in lines]
        assert names == [f"{split}/{name}" for name in opened.splits[split].names]


def test_models_of_another_deal_judge_nothing(tmp_path):
    place = tmp_path / "folds" / "fold_1"
    place.mkdir(parents=True)
    (place / "splits.csv").write_text('image,split,group\na,train,\n"b, c",val,\n')
    crossing.require_deal(tmp_path, [["a"], ["b, c"]])
    with pytest.raises(ValueError, match="trained on other folds: .* Delete that folder"):
        crossing.require_deal(tmp_path, [["b, c"], ["a"]])
