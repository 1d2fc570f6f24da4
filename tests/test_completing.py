"""`segkit complete`: the new data set, what it says of itself, and what is refused."""

import csv
import json
import os
import shutil
from pathlib import Path

import folder_data
import numpy as np
import pytest
from PIL import Image
from small_runs import NAMES, write_run

from segkit import cli, completion
from segkit.config import compose
from segkit.contract import UNKNOWN, candidates, judged_pixels
from segkit.data import folder
from segkit.explaining import NotAll
from segkit.labels import LabelSpace
from segkit.pseudo_labels import completing, opening, providing
from segkit.pseudo_labels.opening import open_all
from segkit.pseudo_labels.propagation import Spreading
from segkit.targets import encode

FOLDS = "abcd"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run whose model is sure of some pixels."""
    return write_run(tmp_path_factory.mktemp("run") / "run")


@pytest.fixture(scope="module", autouse=True)
def loaded_once():
    """Models are compiled once a run and setting, for the time that takes."""
    kept, load = {}, opening.predictor.load

    def cached(path, **options):
        key = str(path), tuple(options.items())
        if key not in kept:
            kept[key] = load(path, **options)
        return kept[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opening.predictor, "load", cached)
        yield


def make(root, declared="cell", parts=("train", "val"), size=(12, 10), more=()):
    """A data set in which nucleus was not looked for, but in one image and in val."""
    folder_data.classes(root)
    rows = [["image", "annotated", "weight", "group", "note"], *more]
    for part in parts:
        for number, stem in enumerate(FOLDS):
            ids = folder_data.mask(number, size)
            whole = part == "val" or stem == "a"
            ids = ids if whole else np.where(ids == 2, 0, ids).astype("uint8")
            ids[-1, -1] = 255
            pixels = folder_data.image(number + 10 * (part == "val"), size)
            folder_data.add(root / part, stem, pixels, ids)
            group = f"{part[0]}{number}"
            rows.append([f"{part}/{stem}", "*" if whole else declared, 0.5, group, "x"])
    with open(root / "annotations.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    return root


def config(**keys):
    typed = [f"{key}={value}" for key, value in keys.items()]
    return compose("complete", ["data=folder", "tta=none", "precision=float32", *typed])


def complete(root, output, **keys):
    made = completion.run(config(**{"data.root": root, "output": output, **keys}))
    return made


def content(root):
    """{path: bytes} of all files of a folder."""
    files = (path for path in Path(root).rglob("*") if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def states(root, split="train"):
    source = folder.splits(root, size=None)[split]
    found = {}
    for index, name in enumerate(source.names):
        mask, annotated = source.annotation(index)
        found[name] = encode(mask[None], annotated[None], source.labels)[0]
    return found


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


# Labels of a class that stays undeclared are told by the reader.
@pytest.mark.filterwarnings("ignore:contradiction")
@pytest.mark.parametrize("doubt", ["coarse", "unknown"])
def test_the_new_data_set_knows_more_and_nothing_else(tmp_path, run, doubt):
    root, output = make(tmp_path / "data"), tmp_path / "new"
    before = content(root)
    complete(root, output, run=run, thresholds=0.6, doubt=doubt)
    assert content(root) == before
    old, new = states(root), states(output)
    gained = 0
    for name in FOLDS:
        settled = (candidates(old[name]).sum(-1) == 1) | ~judged_pixels(old[name])
        np.testing.assert_array_equal(new[name][settled], old[name][settled])
        assert not (candidates(new[name]) & ~candidates(old[name])).any()
        gained += (candidates(old[name]) & ~candidates(new[name])).sum()
    assert gained > 0
    np.testing.assert_array_equal(new["a"], old["a"])  # everything was known there
    for part in ("train", "val"):
        for name in FOLDS:
            same = Path(part) / "images" / f"{name}.png"
            assert (output / same).read_bytes() == (root / same).read_bytes()
    for name in FOLDS:
        same = Path("val") / "masks" / f"{name}.png"
        assert (output / same).read_bytes() == (root / same).read_bytes()


def test_weights_groups_and_origins_are_kept(tmp_path, run):
    root, output = make(tmp_path / "data"), tmp_path / "new"
    made = complete(root, output, run=run, thresholds=0.6, weight=0.2)
    declared = {row["image"]: row for row in rows_of(output / "annotations.csv")}
    assert set(declared["train/b"]) == {"image", "annotated", "weight", "group"}
    changed = {cell.image for cell in made.filled.tally.cells if cell.source != "given"}
    assert changed == {"train/b", "train/c", "train/d"} & set(declared) & changed and changed
    for name, row in declared.items():
        assert float(row["weight"]) == (0.1 if name in changed else 0.5)
        assert row["group"] == f"{name[0]}{FOLDS.index(name[-1])}"
    cells = rows_of(output / "provenance.csv")
    assert len(cells) == len(FOLDS) * 2
    for cell in cells:
        given = cell["image"] == "train/a" or cell["class"] == "cell"
        assert cell["before"] == ("annotated" if given else "unknown")
        if cell["source"] == "model":
            assert cell["runs"].startswith("run@") and 0.5 <= float(cell["confidence"]) <= 1
        else:
            assert cell["runs"] == "" and not int(cell["labelled"])
    target = states(output)
    for cell in cells:
        if cell["source"] == "model":
            labelled = target[cell["image"][-1]][..., NAMES.index(cell["class"])] == 1
            assert labelled.sum() == int(cell["labelled"])
    record = json.loads((output / "provenance.json").read_text())
    assert record["runs"][0]["folder"] == str(run) and record["settings"]["weight"] == 0.2
    assert set(record["files_sha256"]) == {"annotations.csv", "classes.json", "provenance.csv"}
    assert "complete" in (output / "complete.html").read_text()


def test_a_dry_run_says_the_same_and_writes_a_page(tmp_path, run):
    root, output = make(tmp_path / "data"), tmp_path / "new"
    dry = complete(root, output, run=run, thresholds=0.6, dry_run=True)
    assert sorted(os.listdir(output)) == ["complete.html", "complete.json"]
    said = json.loads((output / "complete.json").read_text())
    assert said["classes"][1]["labelled_pixels"] > 0
    wet = complete(root, output, run=run, thresholds=0.6)  # where the report lies
    assert wet.filled.tally.cells == dry.filled.tally.cells
    assert not (output / "complete.json").exists() and (output / "train").is_dir()


def test_thresholds_are_tuned_on_val(tmp_path, run):
    root = make(tmp_path / "data")
    keys = {"run": run, "confidence": 0.5, "dry_run": True}
    bold = complete(root, tmp_path / "a", label_precision=0.0, missed=1.0, **keys)
    shy = complete(root, tmp_path / "b", label_precision=1.0, missed=0.0, **keys)
    assert bold.filled.tuned.thresholds.take[2] == 0.5
    labelled = [made.filled.tally.by_class()[1]["labelled_pixels"] for made in (bold, shy)]
    assert labelled[0] > labelled[1]


def test_propagation_needs_no_run(tmp_path):
    root, output = make(tmp_path / "data"), tmp_path / "new"
    keys = {"propagation.segments": 20, "thresholds": 0.5}
    made = complete(root, output, method="propagation", **keys)
    assert {cell.source for cell in made.filled.tally.cells} == {"given", "propagation"}
    old, new = states(root), states(output)
    assert not any((candidates(new[n]) & ~candidates(old[n])).any() for n in FOLDS)


def test_propagation_may_look_at_a_model(tmp_path, run):
    node = config(**{"data.root": make(tmp_path / "data"), "output": "-"}).data
    opened = [open_all(path, node, {"tta": "none"}) for path in (None, run)]
    for one, more in zip(opened, (0, len(NAMES))):
        found = providing.provider(one, "propagation", Spreading(segments=20)).__self__
        assert found._propagation._scaler.n_features_in_ == 10 + more
        image = one.splits["train"][0].image
        assert next(found.each([image])).shape == (*image.shape[:2], len(NAMES))


def test_a_gamma_that_is_too_large_is_an_error(tmp_path):
    root = make(tmp_path / "data")
    keys = {"propagation.gamma": 1e9, "propagation.scale": "false", "method": "propagation"}
    with pytest.raises(ValueError, match=r"gamma=1e\+09 is too large for these features"):
        complete(root, tmp_path / "new", **keys)
    assert not (tmp_path / "new").exists()


def test_ways_to_spread_that_are_refused(tmp_path):
    root = make(tmp_path / "data")
    for key, value, words in (
        ("nodes", 4.5, "nodes must be a whole number from 2 on"),
        ("seed", "x", "seed must be a whole number from 0 on"),
        ("scale", 3, "scale must be true or false"),
    ):
        with pytest.raises(ValueError, match=f"propagation.{words}. Received: {value!r}"):
            complete(root, tmp_path / "new", method="propagation", **{f"propagation.{key}": value})


def test_what_is_known_needs_nothing(tmp_path, run, hydra_off, capsys):
    root = make(tmp_path / "data", declared="*")
    typed = ["data=folder", f"data.root={root}", f"run={run}", f"output={tmp_path / 'new'}"]
    assert cli.main(["complete", *typed]) == 0
    assert "There is nothing to complete" in capsys.readouterr().out
    assert not (tmp_path / "new").exists()


def test_nothing_sure_enough_is_said_and_not_to_be_trained_on(tmp_path, run, capsys):
    root, new = make(tmp_path / "data"), tmp_path / "new"
    typed = ["data=folder", f"data.root={root}", f"run={run}", f"output={new}", "tta=none"]
    assert cli.main(["complete", *typed, "thresholds=0.99999"]) == 0
    said = capsys.readouterr().out
    assert f"Nothing was sure enough to be filled: {new} holds what was given." in said
    assert "Train on it" not in said and "unknown: images in which nobody looked" in said


def test_a_class_that_nobody_annotated_anywhere(tmp_path, run):
    folder_data.classes(root := tmp_path / "data")
    for number, stem in enumerate("abc"):
        ids = folder_data.mask(number) % 2
        folder_data.add(root / "train", stem, folder_data.image(number), ids)
    lines = ["image,annotated", *(f"{stem},cell" for stem in "abc")]
    (root / "annotations.csv").write_text("\n".join(lines))
    with pytest.raises(ValueError, match="Nobody annotated nucleus in any image, so nothing can"):
        complete(root, tmp_path / "new", run=run)


def test_outputs_that_are_refused(tmp_path, run):
    root = make(tmp_path / "data")
    for place in (root, root / "new", tmp_path):
        with pytest.raises(ValueError, match="needs a folder of its own, outside"):
            complete(root, place, run=run)
    link = tmp_path / "link"
    link.symlink_to(root, target_is_directory=True)
    with pytest.raises(ValueError, match="needs a folder of its own, outside"):
        complete(root, link / "new", run=run)
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "mine").touch()
    with pytest.raises(FileExistsError, match="is there and not empty. Name a new folder"):
        complete(root, taken, run=run)


def test_settings_that_are_refused(tmp_path, run):
    root = make(tmp_path / "data")
    for keys, words in (
        ({"method": "guess"}, "method must be one of model, propagation"),
        ({"method": "model", "run": "null"}, "method=model needs a run"),
        ({"split": "test"}, r"no image to complete in the split 'test'. Received: train \(4\)"),
        ({"weight": 2}, "weight must be a number from 0 to 1"),
        ({"examples": "x"}, "examples must be a whole number from 0 on. Received: 'x'"),
        ({"images": "move"}, "images must be copy or link"),
        ({"label_precision": 3}, "label_precision must be a number from 0 to 1"),
        ({"thresholds": 0.2}, "thresholds must be auto, a number from 0.5 to 1"),
        ({"dry_run": "maybe"}, "dry_run must be true or false"),
    ):
        with pytest.raises(ValueError, match=words):
            complete(root, tmp_path / "new", **{"run": run, **keys})
    with pytest.raises(ValueError, match="There is neither a run nor data"):
        completion.run(compose("complete", [f"output={tmp_path / 'new'}"]))
    assert not (tmp_path / "new").exists()


def test_an_image_that_cannot_be_decoded_stays_as_it_is(tmp_path, run):
    root, output = make(tmp_path / "data"), tmp_path / "new"
    path = root / "train" / "images" / "c.png"
    data = bytearray(path.read_bytes())
    data[60:80] = bytes(20)  # header and end are whole
    path.write_bytes(data)
    with pytest.raises(NotAll, match="1 images could not be read and stay as they were: .*c.png"):
        complete(root, output, run=run, thresholds=0.6)
    assert (output / "train" / "images" / "c.png").read_bytes() == bytes(data)
    same = Path("train") / "masks" / "c.png"
    assert (output / same).read_bytes() == (root / same).read_bytes()
    declared = {row["image"]: row["annotated"] for row in rows_of(output / "annotations.csv")}
    assert declared["train/c"] == "cell"
    assert list(json.loads((output / "provenance.json").read_text())["failed"]) == [str(path)]


def test_one_tiny_image(tmp_path, run):
    root, output = tmp_path / "data", tmp_path / "new"
    folder_data.classes(root)
    for stem, size in (("a", (1, 1)), ("b", (3, 5)), ("c", (2, 1))):
        ids = np.full(size, stem == "b", "uint8") * 2
        folder_data.add(root / "train", stem, folder_data.image(0, size), ids)
    (root / "annotations.csv").write_text("image,annotated\na,cell\nb,*\nc,cell\n")
    complete(root, output, run=run, thresholds=0.5, **{"data.split.val": 0})
    assert states(output)["a"].shape == (1, 1, 3)
    assert set(states(output)["a"].ravel()) <= {0, 1}


def test_what_a_killed_run_left_does_not_count(tmp_path, run, monkeypatch):
    root, output = make(tmp_path / "data"), tmp_path / "new"

    class Killed(BaseException):
        pass

    def killed(*_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(completing.telling, "write_json", killed)
        patch.setattr(shutil, "rmtree", lambda *_, **__: None)  # kill -9 cleans nothing up
        with pytest.raises(Killed):
            complete(root, output, run=run, thresholds=0.6)
    assert not output.exists() and list(tmp_path.glob(".new.unfinished*"))
    complete(root, output, run=run, thresholds=0.6)
    assert (output / "provenance.json").exists()
    assert not list(tmp_path.glob(".new.unfinished*"))


def test_a_full_disk_leaves_nothing_behind(tmp_path, run, monkeypatch):
    root, output = make(tmp_path / "data"), tmp_path / "new"

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OSError, match="No space left on device"):
        complete(root, output, run=run, thresholds=0.6)
    assert not output.exists() and not list(tmp_path.glob(".new.unfinished*"))


def test_classes_with_a_file_each_become_ids(tmp_path, run):
    root, output = tmp_path / "data", tmp_path / "new"
    folder_data.classes(root)
    for part in ("train", "val"):
        for number, stem in enumerate("ab"):
            pixels = folder_data.image(number + 10 * (part == "val"), (8, 8))
            folder_data.add(root / part, stem, pixels)
            (root / part / "masks" / f"{stem}.png").unlink()
            for name in NAMES[1:] if stem == "a" or part == "val" else NAMES[1:2]:
                plane = np.zeros((8, 8), "uint8")
                plane[:3, :3] = 255 if name == "cell" else 0
                place = root / part / "masks" / name
                place.mkdir(exist_ok=True)
                Image.fromarray(plane).save(place / f"{stem}.png")
    complete(root, output, run=run, thresholds=0.6)
    assert sorted(p.name for p in (output / "train" / "masks").iterdir()) == ["a.png", "b.png"]
    assert sorted(p.name for p in (output / "val" / "masks").iterdir()) == ["cell", "nucleus"]
    old, new = states(root), states(output)
    np.testing.assert_array_equal(old["a"], new["a"])
    assert not (candidates(new["b"]) & ~candidates(old["b"])).any()
    np.testing.assert_array_equal(states(root, "val")["b"], states(output, "val")["b"])


def test_scenes_are_written_with_their_truth(tmp_path):
    names = ["background", "ellipse", "rectangle", "circle"]
    data = {
        "_target_": "segkit.synthetic.scenes.splits",
        "sizes": {"train": 6, "val": 3},
        "height": 16,
        "width": 16,
        "missing": {"rate": 0.5},
    }
    run = write_run(tmp_path / "run", data, names=names)
    made = completion.run(
        compose("complete", [f"run={run}", f"output={tmp_path / 'new'}", "thresholds=0.6"])
    )
    assert "true_precision" in made.filled.tally.by_class()[0]
    source = folder.splits(tmp_path / "new", size=None)
    assert len(source["train"]) == 6 and source["val"][0].truth is not None


def test_hidden_annotations_of_a_folder_and_folds(tmp_path, run):
    root, output = make(tmp_path / "data", declared="*"), tmp_path / "new"
    keys = {"data.missing.rate": 0.5, "data.fold.count": 2, "thresholds": 0.6}
    made = complete(root, output, run=run, **keys)
    assert made.filled.tally.has_truth
    assert sorted(p.name for p in (output / "train" / "images").iterdir()) == sorted(
        f"{name.replace('/', '_')}.png" for name in made.opened.splits["train"].names
    )
    back = folder.splits(output, size=None)
    assert len(back["train"]) + len(back["val"]) == 8
    assert all(source[0].truth is not None for source in back.values())


def test_the_training_that_is_proposed(tmp_path, run):
    root = make(tmp_path / "data")
    made = complete(root, tmp_path / "new", run=run, thresholds=0.6, dry_run=True)
    assert completion.train_command(made, "x").endswith("data.root=x data.size=null")
    settings = {**made.opened.settings, "channels": 1, "value_range": [0, 4095]}
    made = made._replace(opened=made.opened._replace(settings=settings))
    told = completion.train_command(made, "x")  # the files are the same, and so are their values
    assert told.endswith("data.size=null data.channels=1 data.value_range=[0,4095]")


def test_drawn_scenes_need_no_run_either(tmp_path):
    typed = ["data=scenes", "data.sizes={train: 5, val: 2}", "data.height=16", "data.width=16"]
    typed += ["method=propagation", "thresholds=0.5", "propagation.segments=20"]
    made = completion.run(compose("complete", [*typed, f"output={tmp_path / 'new'}"]))
    assert made.filled.tally.images == 5 and (tmp_path / "new" / "train" / "truth").is_dir()


def test_independent_classes_each_on_its_own(tmp_path):
    root, names = tmp_path / "data", ["cell", "nucleus"]
    labels = LabelSpace(names, background=None, exclusive=False)
    run = write_run(tmp_path / "run", names=names)
    labels.to_json(run / "labels.json")
    (root / "train" / "masks").mkdir(parents=True)
    labels.to_json(root / "classes.json")
    rng = np.random.default_rng(0)
    for number, stem in enumerate("abc"):
        place = root / "train" / "images"
        place.mkdir(exist_ok=True)
        Image.fromarray(folder_data.image(number, (12, 10))).save(place / f"{stem}.png")
        planes = rng.integers(0, 2, (12, 10, 2), "uint8") * np.array([1, stem == "a"], "uint8")
        planes[0, 0, 0] = 255
        np.save(root / "train" / "masks" / f"{stem}.npy", planes)
    lines = ["image,annotated", "train/a,*", "train/b,cell", "train/c,cell"]
    (root / "annotations.csv").write_text("\n".join(lines))
    keys = {"thresholds": 0.7, "data.split.val": 0}
    complete(root, tmp_path / "new", run=run, **keys)
    old, new = states_of_all(root), states_of_all(tmp_path / "new")
    gained = 0
    for stem in "abc":
        known = old[stem] != UNKNOWN
        np.testing.assert_array_equal(new[stem][known], old[stem][known])
        np.testing.assert_array_equal(new[stem][..., 0], old[stem][..., 0])  # ignored ones too
        gained += (new[stem] != UNKNOWN).sum() - known.sum()
    assert gained > 0
    with pytest.raises(ValueError, match="so classes exclude each other. Received: independent"):
        complete(root, tmp_path / "other", method="propagation", **keys)


def states_of_all(root):
    source = folder.splits(root, size=None, split={"val": 0.0})["train"]
    found = {}
    for index, name in enumerate(source.names):
        mask, annotated = source.annotation(index)
        found[name] = encode(mask[None], annotated[None], source.labels)[0]
    return found


def test_joined_data_sets_become_one(tmp_path, run):
    for name, ids in (("one", {1: "cell"}), ("two", {1: "nucleus"})):
        own = ["background", ids[1]]
        folder_data.clinic(tmp_path / name, own, "ab", parts=("train",))
        for number, stem in enumerate("ab"):
            pixels = folder_data.image(number + 10 * (name == "two"), (8, 9))
            mask = np.zeros((8, 9), "uint8")
            mask[:2] = 1
            folder_data.add(tmp_path / name / "train", stem, pixels, mask)
    sources = f"{{one: {{root: {tmp_path / 'one'}}}, two: {{root: {tmp_path / 'two'}}}}}"
    typed = ["data=joined", f"+data.sources={sources}", "data.split.val=0", "thresholds=0.6"]
    typed += [f"run={run}", f"output={tmp_path / 'new'}", "tta=none", "precision=float32"]
    completion.run(compose("complete", [*typed, f"data.names=[{','.join(NAMES)}]"]))
    names = sorted(path.stem for path in (tmp_path / "new" / "train" / "images").iterdir())
    assert names == ["one_a", "one_b", "two_a", "two_b"]
    cells = rows_of(tmp_path / "new" / "provenance.csv")
    assert {c["class"] for c in cells if c["source"] == "model"} <= {"cell", "nucleus"}
    given = {(c["image"][:9], c["class"]) for c in cells if c["before"] == "annotated"}
    assert given == {("train/one", "cell"), ("train/two", "nucleus")}


def test_images_may_be_linked(tmp_path, run):
    root, output = make(tmp_path / "data"), tmp_path / "new"
    complete(root, output, run=run, thresholds=0.6, images="link")
    same = Path("train") / "images" / "a.png"
    assert (output / same).samefile(root / same)


def test_scores_that_are_cut_into_bins_become_ids_in_all_splits(tmp_path):
    root, output = tmp_path / "data", tmp_path / "new"
    rows = ["image,annotated"]
    for part in ("train", "val"):
        for number, stem in enumerate("abc"):
            scores = np.repeat(np.array([[0, 12, 22]], "uint8"), 12, 0).repeat(4, 1)
            pixels = scores[..., None].repeat(3, 2) * 10 + np.uint8(10 * (part == "val") + number)
            whole = part == "val" or stem == "a"
            scores = scores if whole else np.where(scores == 22, 0, scores)
            folder_data.add(root / part, stem, pixels, scores)
            rows.append(f"{part}/{stem},{'*' if whole else 'low'}")
    described = {"names": ["none", "low", "high"], "background": 0, "ignore_index": 255}
    described["bins"] = {"edges": [0, 1, 2, 3], "scale": 0.1}
    (root / "classes.json").write_text(json.dumps(described))
    (root / "annotations.csv").write_text("\n".join(rows))
    complete(root, output, method="propagation", thresholds=0.6)
    for stem in "abc":  # those that were not completed would be read as ids, too
        np.testing.assert_array_equal(states(root, "val")[stem], states(output, "val")[stem])
    np.testing.assert_array_equal(states(root)["a"], states(output)["a"])
    assert (states(output)["b"][:, -4:, 2] == 1).all()


def test_an_image_of_class_files_that_cannot_be_decoded_stays_too(tmp_path, run):
    root, output = make(tmp_path / "data"), tmp_path / "new"
    for path in list((root / "train" / "masks").glob("*.png")):
        ids = np.array(Image.open(path))
        path.unlink()
        (root / "train" / "masks" / "cell").mkdir(exist_ok=True)
        Image.fromarray((ids == 1).astype("uint8")).save(root / "train/masks/cell" / path.name)
    path = root / "train" / "images" / "c.png"
    data = bytearray(path.read_bytes())
    data[60:80] = bytes(20)
    path.write_bytes(data)
    with pytest.raises(NotAll, match="1 images could not be read and stay as they were: .*c.png"):
        complete(root, output, run=run, thresholds=0.6, **{"data.annotated": "all"})
    np.testing.assert_array_equal(states(root)["c"], states(output)["c"])
