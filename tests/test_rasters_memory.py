"""A large image is read and its ids are written in a part of the memory that it would take."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from segkit.data.readers import read_mask
from segkit.labels import LabelSpace

EDGE, TILE = 6144, 512
LABELS = LabelSpace(["a", "b", "c", "d"], background=None)

SCRIPT = """
import sys
from pathlib import Path
from segkit.data.rasters import open_raster, write_ids
from segkit.labels import LabelSpace

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

labels, (source, target), before = LabelSpace(list("abcd"), background=None), sys.argv[1:], peak()
with open_raster(Path(source), cache=2**25) as raster:
    height, width = raster.shape
    with write_ids(Path(target), raster.shape, labels, like=raster) as writer:
        for top in range(0, height, 256):
            values = raster.read(slice(top, top + 256), slice(0, width))
            writer.write(slice(top, top + 256), values[..., 0] >> 6)
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is asked of Linux")
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_memory_is_bounded(tmp_path, suffix):
    tile = np.random.default_rng(0).integers(0, 256, (TILE, TILE, 3), np.uint8) & 0xF0
    tiles = (tile for _ in range((EDGE // TILE) ** 2))
    options = {"tile": (TILE, TILE), "compression": "zlib", "photometric": "rgb"}
    source, target = tmp_path / "a.tif", tmp_path / f"ids{suffix}"
    tifffile.imwrite(source, tiles, shape=(EDGE, EDGE, 3), dtype="uint8", **options)
    command = [sys.executable, "-c", SCRIPT, str(source), str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) * 1024 < 0.9 * EDGE * EDGE * 3  # of which 30 % is the cache
    expected = np.tile(tile[..., 0] >> 6, (EDGE // TILE, EDGE // TILE))
    np.testing.assert_array_equal(read_mask(target, LABELS), expected)
