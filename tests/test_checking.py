"""`segkit check`: what it says of data in order, of each damage, and how it says it."""

import json
import os
import re
import shutil

import folder_data
import numpy as np
import pytest
from PIL import Image

from segkit import checking
from segkit.cli import main
from segkit.config import compose
from segkit.data.folder.dataset import examine

SIZE = (12, 16)


@pytest.fixture
def healthy(tmp_path):
    """Twelve images to train on and four to watch, with nothing to say about them."""
    root = tmp_path / "cells"
    folder_data.classes(root)
    for part, number in (("train", 12), ("val", 4)):
        for n in range(number):
            seed = 100 * number + n
            pixels, ids = folder_data.image(seed, SIZE), folder_data.mask(seed, SIZE)
            folder_data.add(root / part, f"{part}{n}", pixels, ids)
    return root


def check(root, *options):
    return checking.check(compose("check", [f"data.root={root}", "output=null", *options]))


def problems(root, *options):
    found = check(root, *options).result
    return [(p["kind"], p["fatal"], p["text"]) for p in found["problems"]]


def test_data_in_order(healthy):
    found, labels, samples = check(healthy)
    assert found["problems"] == [] and (found["errors"], found["warnings"]) == (0, 0)
    assert found["verdict"] == "Training can begin; nothing looks wrong."
    assert found["images"] == 16 and found["name"] == "cells"
    train = found["splits"]["train"]["classes"]
    assert [row["present"] for row in train] == [12] * 3
    assert sum(row["pixels"] for row in train) == 12 * 12 * 16
    assert sum(row["share"] for row in train) == pytest.approx(1)
    (files,) = found["data_sets"]
    assert files["sizes"] == {"12x16": 16} and files["dtypes"] == {"uint8": 16}
    assert len(files["channels"]) == 3 and files["channels"][0]["high"] == 255
    assert labels.names == tuple(folder_data.NAMES)
    assert [s.why.split(" covers")[0] for s in samples] == ["cell", "nucleus"] * 3
    assert len({s.name for s in samples}) == 6 and not any(s.wrong for s in samples)
    assert samples[0].image.shape == (*SIZE, 3) and samples[0].mask.shape == SIZE


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def as_jpeg(root, keep):
    path = root / "train/images/train0.png"
    Image.fromarray(folder_data.image(1, (64, 64))).save(path.with_suffix(".jpg"))
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(root / "train/masks/train0.png")
    path.unlink()
    whole = path.with_suffix(".jpg").read_bytes()
    path.with_suffix(".jpg").write_bytes(whole[: int(keep * len(whole))])


def save(path, array):
    Image.fromarray(np.asarray(array, getattr(array, "dtype", np.uint8))).save(path)


def link_outside(root):
    target = root.parent / "elsewhere.png"
    shutil.move(root / "train/images/train0.png", target)
    (root / "train/images/train0.png").symlink_to(target)


def leak(root):
    shutil.copy(root / "train/images/train0.png", root / "val/images/val0.png")


def manifest(root, text):
    (root / "annotations.csv").write_text(f"image,annotated\n{text}\n")


TRAIN = "train/images/train0.png"
MASK = "train/masks/train0.png"

# harm, (kind of the first fatal problem), words
FATAL = {
    "truncated PNG": (lambda r: truncate(r / TRAIN), "image that cannot be used", "train0.png"),
    "truncated JPEG": (lambda r: as_jpeg(r, 0.6), "image that cannot be used", "train0.jpg"),
    "zero bytes": (lambda r: (r / TRAIN).write_bytes(b""), "image that cannot be used", "0 bytes"),
    "truncated mask": (lambda r: truncate(r / MASK), "mask that cannot be used", "train0.png"),
    "mask id": (
        lambda r: save(r / MASK, np.full(SIZE, 77, np.uint8)),
        "mask that cannot be used",
        "Received also: 77",
    ),
    "mask size": (
        lambda r: save(r / MASK, np.zeros((16, 12), np.uint8)),
        "mask that cannot be used",
        "as large as its image",
    ),
    "no mask": (lambda r: (r / MASK).unlink(), "image without", "train0.png"),
    "no image": (lambda r: (r / TRAIN).unlink(), "mask without", "train0.png"),
    "twice": (lambda r: save(r / "train/images/train0.jpg", folder_data.image()), "", "train0.jpg"),
    "link": (link_outside, "", "train0.png"),
    "leak": (leak, "", "val0"),
    "no classes": (lambda r: (r / "classes.json").unlink(), "no data set", "classes.json"),
    "unknown class": (lambda r: manifest(r, "train0,vessel"), "", "vessel"),
    "unknown image": (lambda r: manifest(r, "train99,cell"), "", "train99"),
    "path": (lambda r: manifest(r, "../train0,cell"), "", "../train0"),
    "nothing": (
        lambda r: [save(p, np.zeros(SIZE, np.uint8)) for p in r.glob("*/masks/*.png")],
        "nothing to learn",
        "no class but the background",
    ),
    "binary": (
        lambda r: [
            save(p, 255 * np.uint8(folder_data.mask(n, SIZE) > 0))
            for n, p in enumerate(r.glob("*/masks/*.png"))
        ],
        "binary masks",
        "255 means yes",
    ),
    "mask is image": (
        lambda r: [save(r / file, folder_data.mask(5, SIZE)) for file in (TRAIN, MASK)],
        "mask that is its image",
        "byte for byte",
    ),
}


@pytest.mark.parametrize("harm, kind, words", FATAL.values(), ids=FATAL)
def test_a_damage_is_an_error_that_names_it(healthy, harm, kind, words):
    harm(healthy)
    found = problems(healthy)
    fatal = [(what, text) for what, is_fatal, text in found if is_fatal]
    assert any(kind in what and words in text for what, text in fatal), found
    with pytest.raises(ValueError, match=r"^Training would stop or go wrong: \d+ errors? to mend"):
        checking.run(compose("check", [f"data.root={healthy}", "output=null"]))


def test_several_damages_are_named_at_once(healthy):
    for n in range(5):
        truncate(healthy / f"train/images/train{n}.png")
    (healthy / "train/masks/train9.png").unlink()
    leak_from = healthy / "train/images/train10.png"
    shutil.copy(leak_from, healthy / "val/images/val1.png")
    kinds = [what for what, fatal, _ in problems(healthy) if fatal]
    assert kinds.count("image that cannot be used") == 5 and len(kinds) == 7


def frames(root, stems):
    """A data set without split folders."""
    folder_data.classes(root)
    for n, stem in enumerate(stems):
        folder_data.add(root, stem, folder_data.image(n, SIZE), folder_data.mask(n, SIZE))
    return root


SEQUENCES = {
    "video": "seq{}_{:04d}",
    "digits first": "000{}TP_{:06d}",
    "patient": "patient0{}-slice{}",
    "camera": "seq{}_{:03d}_left",
}


@pytest.mark.parametrize("form", SEQUENCES.values(), ids=SEQUENCES)
def test_frames_drawn_apart_are_kept_together_as_proposed(tmp_path, form):
    root = frames(tmp_path, [form.format(s, n) for s in range(1, 4) for n in range(6)] + ["extra"])
    ((_, _, text),) = [p for p in problems(root) if p[0] == "frames drawn apart"]
    assert "look like frames of 3 sequences (" in text and "land in train and val" in text
    proposed = re.search("'(data.split.group=.*)'", text)[1]
    assert "frames drawn apart" not in {kind for kind, _, _ in problems(root, proposed)}
    names = [pair.name for pair in examine(root).pairs]
    pattern = compose("check", [proposed, "data.root=x"]).data.split.group
    groups = [re.search(pattern, name)[1] for name in names]
    assert len(set(groups)) == 4 and sorted(map(groups.count, set(groups))) == [1, 6, 6, 6]


QUIET = {
    "one prefix": [f"case_{n}" for n in range(20)],
    "few frames": [f"p{s}_{n}" for s in range(8) for n in range(3)],
    "numbers": [f"{n:04d}" for n in range(20)],
}


@pytest.mark.parametrize("stems", QUIET.values(), ids=QUIET)
def test_other_stems_are_no_frames(tmp_path, stems):
    assert "frames drawn apart" not in {kind for kind, _, _ in problems(frames(tmp_path, stems))}


def test_frames_are_left_to_those_who_said_where_they_go(tmp_path, healthy):
    root = frames(tmp_path / "f", [f"seq{s}_{n}" for s in range(3) for n in range(6)])
    kinds = [kind for kind, _, _ in problems(healthy)]
    assert "frames drawn apart" not in kinds  # train0, val0: folders
    (root / "annotations.csv").write_text("image,group\nseq0_1,a\n")
    assert "frames drawn apart" not in [kind for kind, _, _ in problems(root)]
    (root / "annotations.csv").write_text("image,weight\nseq0_1,1\n")
    assert "frames drawn apart" in [kind for kind, _, _ in problems(root)]
    assert "frames drawn apart" not in [k for k, _, _ in problems(root, "data.split.val=0")]


MILD = {
    "duplicate": (
        lambda r: [
            shutil.copy(r / f"train/{part}/train0.png", r / f"train/{part}/train1.png")
            for part in ("images", "masks")
        ],
        "duplicate image",
        "in train 2 times",
    ),
    "contradiction": (
        lambda r: manifest(r, "train0,cell"),
        "contradiction",
        "nucleus",
    ),
    "one pixel": (
        lambda r: (save(r / TRAIN, np.zeros((1, 1, 3), np.uint8)), save(r / MASK, [[1]])),
        "tiny image",
        "train0.png is only 1x1 pixels",
    ),
    "one colour": (
        lambda r: save(r / TRAIN, np.full((*SIZE, 3), 9, np.uint8)),
        "image of one colour",
        r"(9, 9, 9)",
    ),
    "all ignored": (
        lambda r: save(r / MASK, np.full(SIZE, 255, np.uint8)),
        "mask that is all ignored",
        "teaches nothing",
    ),
    "unknown class": (
        lambda r: manifest(r, "\n".join(f"train{n},cell" for n in range(12))),
        "class without evidence",
        "nucleus",
    ),
}


@pytest.mark.parametrize("harm, kind, words", MILD.values(), ids=MILD)
def test_what_training_bears_is_a_warning(healthy, harm, kind, words):
    harm(healthy)
    found = problems(healthy)
    assert not any(fatal for _, fatal, _ in found), found
    assert any(what == kind and words in text for what, _, text in found), found


def test_the_command_writes_a_page_and_json(healthy, tmp_path, capfd, hydra_off):
    output = tmp_path / "found"
    assert main(["check", f"data.root={healthy}", f"output={output}"]) == 0
    said = capfd.readouterr()
    assert "share: of the judged pixels in the images where somebody looked" in said.out
    assert "train: 12 images" in said.out and "nothing looks wrong" in said.out
    assert sorted(path.name for path in output.iterdir()) == ["check.html", "check.json"]
    assert json.loads((output / "check.json").read_text())["images"] == 16


def test_errors_are_all_in_the_json_and_the_exit_code_is_1(healthy, tmp_path, capfd, hydra_off):
    for n in range(12):
        truncate(healthy / f"train/images/train{n}.png")
    output = tmp_path / "found"
    assert main(["check", f"data.root={healthy}", f"output={output}"]) == 1
    said = capfd.readouterr()
    assert "ERROR: image that cannot be used (12 times)" in said.out
    assert said.out.count("is cut short") == 1 and " and 8 more." in said.out
    assert said.out.index("ERROR: image that") < said.out.index("ERROR: empty split")
    assert "Received: train has 0 images, val has 4 images. Mend the other errors" in said.out
    words = "segkit check: Training would stop or go wrong: 13 errors of 2 kinds to mend first."
    assert words in said.err
    assert "Traceback" not in said.err
    found = json.loads((output / "check.json").read_text())
    assert sum(p["kind"] == "image that cannot be used" for p in found["problems"]) == 12
    page = (output / "check.html").read_text()
    assert page.count("is cut short") == 1 and "train8.png and 1 more." in page
    assert "<dd>4 of 16 usable</dd>" in page


def test_a_page_is_written_where_nothing_could_be_read(tmp_path):
    (tmp_path / "pictures").mkdir()
    config = compose("check", [f"data.root={tmp_path / 'pictures'}", f"output={tmp_path / 'o'}"])
    with pytest.raises(ValueError, match="1 error to mend first"):
        checking.run(config)
    page = (tmp_path / "o/check.html").read_text()
    assert "holds no data set" in page and "Nothing could be counted" in page


def test_a_slip_in_the_path_overwrites_no_report(healthy, tmp_path):
    output = tmp_path / "o"
    checking.run(compose("check", [f"data.root={healthy}", f"output={output}"]))
    before = {path.name: path.read_bytes() for path in output.iterdir()}
    config = compose("check", [f"data.root={tmp_path / 'nowhere'}", f"output={output}"])
    with pytest.raises(ValueError, match="^There is no folder .*nowhere.*Nothing was written"):
        checking.run(config)
    assert {path.name: path.read_bytes() for path in output.iterdir()} == before


def test_nothing_is_written_on_request(healthy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    checking.run(compose("check", [f"data.root={healthy}", "output=null"]))
    assert [path.name for path in tmp_path.iterdir()] == ["cells"]


def test_data_sets_to_be_joined(healthy, tmp_path):
    other = folder_data.clinic(
        tmp_path / "other", ["background", "vessel"], "abcdefgh", ("train", "val")
    )
    for n, path in enumerate(sorted(other.glob("*/images/*.png"))):
        save(path, folder_data.image(900 + n))
    options = [f"+data.sources.one.root={healthy}", f"+data.sources.two.root={other}"]
    config = ["data=joined", "output=null", *options]
    found, labels, samples = checking.check(compose("check", config))
    assert found["errors"] == 0 and labels.names == ("background", "cell", "nucleus", "vessel")
    assert [entry["name"] for entry in found["data_sets"]] == ["one", "two"]
    rows = {row["name"]: row for row in found["splits"]["train"]["classes"]}
    assert (rows["vessel"]["annotated"], rows["vessel"]["unknown"]) == (8, 12)
    assert {sample.labels.names[1] for sample in samples} == {"cell", "vessel"}
    truncate(other / "train/images/a.png")
    found = checking.check(compose("check", config)).result
    assert [p["text"].split(": ")[0] for p in found["problems"] if p["fatal"]] == ["two"]
    assert found["splits"] == {}


def test_drawn_data_have_coverage_and_no_files():
    options = ["data=scenes", "data.sizes={train: 20, val: 5}", "output=null", "samples=3"]
    found, labels, samples = checking.check(compose("check", options))
    assert "nothing on disk to check" in found["verdict"] and found["data_sets"] == []
    assert found["splits"]["train"]["images"] == 20 and len(samples) == 3
    assert all(row["unknown"] == 0 for row in found["splits"]["train"]["classes"])


def test_independent_classes(tmp_path):
    root = tmp_path / "set"
    folder_data.classes(root, names=["cell", "nucleus"], background=None, exclusive=False)
    rng = np.random.default_rng(0)
    for part in ("train", "val"):
        for name in ("images", "masks"):
            (root / part / name).mkdir(parents=True)
        for n in range(11):
            save(root / part / f"images/{part}{n}.png", rng.integers(0, 256, (9, 8, 3), np.uint8))
            planes = rng.integers(0, 2, (9, 8, 2), np.uint8)
            np.save(root / part / f"masks/{part}{n}.npy", planes)
    found, labels, samples = check(root)
    assert found["problems"] == []
    assert [row["present"] for row in found["splits"]["val"]["classes"]] == [11, 11]
    drawn = set(np.unique(samples[0].mask))
    assert drawn == {0, 1, 65_535}


def test_options_are_refused_before_anything_is_read(tmp_path):
    with pytest.raises(ValueError, match="samples must be a whole number from 0 on.*-1"):
        check(tmp_path, "samples=-1")
    with pytest.raises(ValueError, match="annotated must be one of all, manifest, present"):
        check(tmp_path, "data.annotated=some")
    with pytest.raises(ValueError, match="size must be a positive number of pixels.*Received: 0"):
        check(tmp_path, "data.size=0")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read(healthy):
    (healthy / TRAIN).chmod(0)
    assert any("train0.png" in text for _, fatal, text in problems(healthy) if fatal)


def test_a_class_name_is_text_on_the_page(healthy, tmp_path):
    evil = '<img src=x onerror="alert(1)">'
    folder_data.classes(healthy, names=["background", evil, "</script><script>x"])
    checking.run(compose("check", [f"data.root={healthy}", f"output={tmp_path / 'o'}"]))
    page = (tmp_path / "o/check.html").read_text()
    assert evil not in page and "</script><script>x" not in page
    assert "&lt;img src=x" in page


def test_the_page_stays_small(healthy, tmp_path):
    """However many problems there are, ten of a kind are spelt out."""
    found = check(healthy)
    problem = {"kind": "odd", "path": "p", "text": "q" * 300, "fatal": False}
    sizes = []
    for number in (10, 5000):
        result = {**found.result, "problems": [problem] * number}
        path = checking.check_page.write(tmp_path / "p.html", result, found.labels, [])
        sizes.append(path.stat().st_size)
    assert sizes[1] - sizes[0] < 200
