"""The bookkeeping of the benchmark of the data, and that the loaders it compares load the same."""

import subprocess
import sys
from pathlib import Path

import albumentations
import numpy as np
import pytest
from PIL import Image

SCRIPTS = Path(__file__).parent.parent / "scripts"


def pixels(path):
    with Image.open(path) as opened:
        return np.array(opened)


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import bench_data

    yield bench_data
    for name in ("bench_data", "bench_data_rivals"):
        sys.modules.pop(name)


@pytest.fixture
def files(bench, tmp_path):
    root = bench.make(tmp_path / "made", 5, (12, 16))
    images = sorted((root / "images").iterdir())
    return [(path, root / "masks" / f"{path.stem}.png") for path in images]


def test_images_are_made_of_which_no_two_are_alike(bench, files):
    assert {image.suffix for image, _ in files} == {".jpg", ".png"}
    assert len({image.read_bytes() for image, _ in files}) == len(files)
    for image, mask in files:
        assert pixels(image).shape == (12, 16, 3) and pixels(mask).shape == (12, 16)
    (folder,) = {image.parent.parent for image, _ in files}
    source = bench._open(folder, [12, 16], "none", folder)
    assert len(source) == 4 and source.labels == bench.LABELS  # one is drawn for validation


def test_waiting_by_hand(bench):
    """Two epochs of four steps of a second; after the first two, 0.1 s and 0.3 s of waiting."""
    begins = np.array([0, 1, 2, 3, 60, 61, 62, 63.0])
    waits = np.array([0.9, 0.9, 0.1, 0.9, 0.9, 0.9, 0.3, 0.9])
    share, step = bench.waited(np.stack([begins, begins + waits], axis=1), epochs=2)
    assert share == pytest.approx(0.2) and step == pytest.approx(1)


def test_rates_are_compared_within_a_round(bench, capsys):
    """The machine was half as fast in the second round, and for all."""
    rates = {"segkit, cache=none": [200, 100, 260], "PyTorch DataLoader, 2 workers": [100, 50, 100]}
    bench._print_rates(rates)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[-2:] == ["200", "2.00"] and lines[2].split()[-2:] == ["100", "1.00"]
    bench._print_rates({"segkit, cache=none": [200, 100, 260]})  # without PyTorch
    assert capsys.readouterr().out.splitlines()[1].split()[-1] == "200"


def test_the_peak_is_that_of_the_process(bench):
    """In a child, whose peak is not yet above what is asked for here."""
    code = "import bench_data, numpy; before = bench_data._peak(); "
    code += "numpy.ones(2 ** 30, numpy.uint8); print(bench_data._peak() - before)"
    folder = Path(bench.__file__).parent
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert 900 < float(done.stdout) < 1200, done.stderr


def test_tf_data_loads_image_and_mask_alike(bench, files):
    images, masks = next(iter(bench.rivals.keras_style(files, (12, 16), 5)(1)))
    assert images.shape == (5, 12, 16, 3) and images.dtype == "float32"
    assert 0.5 < float(images.numpy().max()) <= 1 and masks.shape == (5, 12, 16, 1)
    stored = sorted(pixels(mask).sum() for _, mask in files)
    assert sorted(masks.numpy().sum((1, 2, 3)).tolist()) == stored  # flips move, and change none
    assert len(list(bench.rivals.keras_style(files, (12, 16), 4)(3))) == 4  # 15 images


def test_pytorch_loads_image_and_mask_alike(bench, files):
    pytest.importorskip("torch", reason="PyTorch is not installed")
    flips = [albumentations.HorizontalFlip(p=1)]
    start = bench.rivals.torch_loader(files, (12, 16), flips, 5, workers=0)
    ((images, masks),) = start(1)
    assert images.shape == (5, 3, 12, 16) and masks.shape == (5, 12, 16)
    assert 0.5 < float(images.max()) <= 1
    stored = {pixels(mask)[:, ::-1].tobytes() for _, mask in files}
    assert {mask.numpy().astype("uint8").tobytes() for mask in masks} == stored
    assert len(list(start(3))) == 3


def test_numbers_that_make_no_sense(bench, capsys):
    with pytest.raises(SystemExit):
        bench._options(["speed", "--rounds", "3"])
    assert "--rounds must be at least 5. Received: 3." in capsys.readouterr().err
    assert bench._options(["speed", "--size", "64"]).size == [64, 64]
    assert bench._options(["waiting", "--size", "90", "120"]).size == [90, 120]
