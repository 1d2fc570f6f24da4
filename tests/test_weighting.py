"""`segkit weights`: counts at full size, known shares, and the weights made of them."""

import json
import re

import folder_data
import numpy as np
import pytest
from PIL import Image

from segkit import weighting
from segkit.cli import main
from segkit.config import compose

# sources.md, 5: "From the masks themselves one gets ... on the training split".
CAMVID = {
    "sky": 0.2793,
    "building": 0.2017,
    "pole": 4.7865,
    "road": 0.1490,
    "pavement": 1.0000,
    "tree": 0.4217,
    "sign_symbol": 3.8467,
    "fence": 1.9736,
    "car": 0.7889,
    "pedestrian": 6.3747,
    "bicyclist": 8.8587,
}


def weights(root, *options):
    return weighting.run(compose("weights", [f"data.root={root}", *options]))


def test_median_frequency_of_camvid_is_the_known_one(real_data, tmp_path, capfd, hydra_off):
    """Through the verb itself, from the masks at their full size."""
    output = tmp_path / "weights.json"
    assert main(["weights", f"data.root={real_data / 'camvid'}", f"output={output}"]) == 0
    found = json.loads(output.read_text())
    assert list(found["weights"]["median_frequency"]) == list(CAMVID)
    for name, weight in CAMVID.items():
        assert round(found["weights"]["median_frequency"][name], 4) == weight, name
    assert found["images"] == 367 and all(row["known_share"] == 1 for row in found["classes"])
    said = capfd.readouterr().out
    assert "train: 367 images" in said and re.search(r"bicyclist .* 8\.8587 ", said)


def test_masks_count_at_their_full_size(tmp_path):
    root = folder_data.make(tmp_path)
    stored = [np.array(Image.open(path)) for path in sorted(root.glob("train/masks/*"))]
    pixels = np.bincount(np.concatenate([mask.ravel() for mask in stored]), minlength=3)
    assert [row["pixels"] for row in weights(root)["classes"]] == pixels.tolist()
    resized = weights(root, "data.size=2")["classes"]
    assert sum(row["pixels"] for row in resized) == 5 * 2 * 2


def test_known_share_and_what_the_table_shows(tmp_path, caplog):
    root = folder_data.make(tmp_path, "abcd")
    rows = "image,annotated\ntrain/a,*\ntrain/b,cell\ntrain/c,cell\ntrain/d,\n"
    (root / "annotations.csv").write_text(rows)
    with pytest.warns(UserWarning, match="contradiction"), caplog.at_level("INFO"):
        found = weights(root)
    assert [row["known_share"] for row in found["classes"]] == [1, 0.75, 0.25]
    (table,) = [r.getMessage() for r in caplog.records if "train: 4 images" in r.getMessage()]
    heads = "class pixels stored images known median_frequency inverse_frequency effective_number"
    assert re.findall(r"\w+", table.splitlines()[2]) == heads.split()
    (nucleus,) = [line for line in table.splitlines() if "nucleus" in line]
    cells = [cell.strip() for cell in nucleus.strip("│").split("│")]
    row = found["classes"][2]
    assert cells[1:5] == [str(row["pixels"]), str(row["stored_pixels"]), "1", "25.0%"]
    assert row["pixels"] < row["stored_pixels"]


@pytest.mark.parametrize("number", [1, 3])
def test_independent_classes(tmp_path, number):
    folder_data.classes(tmp_path, names=["cell", "nucleus"], background=None, exclusive=False)
    for part in ("images", "masks"):
        (tmp_path / "train" / part).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for n in range(number):
        image = Image.fromarray(rng.integers(0, 256, (4, 5, 3), np.uint8))
        image.save(tmp_path / f"train/images/{n}.png")
        planes = np.zeros((4, 5, 2), np.uint8)
        planes[:2, :, 0], planes[:, :, 1] = 1, 1  # overlapping
        np.save(tmp_path / f"train/masks/{n}.npy", planes)
    found = weights(tmp_path, "data.split.val=0")
    assert [row["pixels"] for row in found["classes"]] == [10 * number, 20 * number]
    assert [row["present"] for row in found["classes"]] == [number] * 2
    assert list(found["weights"]["inverse_frequency"].values()) == [1, 0.5]


def test_data_that_are_drawn_keep_their_own_size():
    found = weighting.run(compose("weights", ["data=scenes", "data.sizes={train: 3, val: 1}"]))
    assert found["images"] == 3 and all(0 < row["known_share"] <= 1 for row in found["classes"])
    assert compose("weights", ["data=scenes"]).data.size == compose("train").data.size


def test_nothing_to_count_is_named(tmp_path):
    root = folder_data.make(tmp_path, parts=("val",))
    words = r"of the split train, and there is none. Received: val \(5\)"
    with pytest.raises(ValueError, match=words):
        weights(root)
