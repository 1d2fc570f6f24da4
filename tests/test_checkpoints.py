"""Checkpoint files: whole or not there, checked on load, the last good one kept."""

import json
import os
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from segkit import checkpoints
from segkit.checkpoints import Checkpoint, from_plain, newest, plain, read, remove, write


def made(epoch, step=0):
    arrays = {"a": np.full((3, 2), epoch, "float32"), "b": np.array(7, "int64")}
    return Checkpoint(epoch, step, arrays, {"best": float("-inf"), "rows": [[1, "x"], None]})


def same(one, other):
    assert (one.epoch, one.step, one.state) == (other.epoch, other.step, other.state)
    assert one.arrays.keys() == other.arrays.keys()
    for name, array in one.arrays.items():
        assert array.dtype == other.arrays[name].dtype
        np.testing.assert_array_equal(array, other.arrays[name])


def test_what_is_written_is_read(tmp_path):
    path = write(tmp_path / "new", made(3, 12))
    same(read(path), made(3, 12))
    same(newest(tmp_path / "new"), made(3, 12))


def test_the_newest_two_are_kept(tmp_path):
    for epoch, step in [(1, 0), (2, 0), (2, 7), (10, 0)]:
        write(tmp_path, made(epoch, step))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["000002-000007.npz", "000010-000000.npz"]
    same(newest(tmp_path), made(10))
    for step in (999_999, 1_000_000):  # not in the order of their letters
        write(tmp_path, made(10, step))
    assert newest(tmp_path).step == 1_000_000


def test_no_checkpoint_is_none(tmp_path):
    assert newest(tmp_path / "nowhere") is None


def cut(path):
    path.write_bytes(path.read_bytes()[:-30])


def flip(path):
    with zipfile.ZipFile(path) as content:
        at = content.getinfo("b.npy").header_offset - 3  # the last number of what lies before it
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def lengthen_a_header(path):
    """The array is read from elsewhere, in its shape, and no sum of NumPy's sees it."""
    with zipfile.ZipFile(path) as content:
        at = content.getinfo("a.npy").header_offset + 30 + len("a.npy") + 8
    data = bytearray(path.read_bytes())
    extra = int.from_bytes(data[at - 8 - len("a.npy") - 2 : at - 8 - len("a.npy")], "little")
    data[at + extra] ^= 4
    path.write_bytes(data)


def lose_an_array(path):
    with zipfile.ZipFile(path) as content:
        kept = {name: content.read(name) for name in content.namelist() if name != "b.npy"}
    with zipfile.ZipFile(path, "w") as content:
        for name, data in kept.items():
            content.writestr(name, data)


def empty(path):
    path.write_bytes(b"")


def without_state(path):
    np.savez(path, a=np.zeros(3))


def of_objects(path):
    np.savez(path, a=np.array([{}], object), **{"state.json": np.zeros(1, "uint8")})


@pytest.mark.parametrize(
    "damage", [cut, flip, lengthen_a_header, lose_an_array, empty, without_state, of_objects]
)
def test_a_damaged_one_is_passed_over_with_a_word(tmp_path, damage, caplog):
    write(tmp_path, made(1))
    damage(write(tmp_path, made(2)))
    same(newest(tmp_path), made(1))
    assert "000002-000000.npz is damaged" in caplog.text and "passed over" in caplog.text


def test_a_full_disk_leaves_the_older_ones(tmp_path, monkeypatch):
    write(tmp_path, made(1))

    def full(*_):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(checkpoints.os, "fsync", full)
    with pytest.raises(OSError, match="after epoch 2 could not be.*No space left.*free some space"):
        write(tmp_path, made(2))
    assert [p.name for p in tmp_path.iterdir()] == ["000001-000000.npz"]
    same(newest(tmp_path), made(1))


@pytest.mark.parametrize("moment", ["savez", "fsync", "replace"])
def test_a_death_while_writing_leaves_the_older_ones(tmp_path, moment):
    """The process ends half way through the arrays, before the sync, and before the new name."""
    write(tmp_path, made(1))
    code = f"""
import os, sys
from pathlib import Path
import numpy as np
from segkit import checkpoints
usual = np.lib.format.write_array
def half(file, *rest, **more):
    file.write(b"half"); os._exit(9)
def end(*_):
    os._exit(9)
if {moment!r} == "savez":
    np.lib.format.write_array = half
else:
    setattr(os, {moment!r}, end)
checkpoints.write(Path({str(tmp_path)!r}), checkpoints.Checkpoint(2, 0, {{"a": np.zeros(9)}}, {{}}))
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == 9
    same(newest(tmp_path), made(1))
    write(tmp_path, made(2))
    same(newest(tmp_path), made(2))
    remove(tmp_path)
    assert not tmp_path.exists()


def test_other_files_survive_the_removal(tmp_path):
    write(tmp_path, made(1))
    (tmp_path / "mine.npz").write_text("mine")
    remove(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.npz"]


def test_plain_values_come_back_and_others_are_left_out():
    weights = [np.arange(3.0), np.eye(2)]
    values = {"best": np.float32(0.1), "wait": 3, "rows": [{"a": 1}, {"a": None}], "on": True}
    arrays = {"weights": weights, "grid": np.eye(3)}
    other = {"model": object(), "many": [object()], "odd": {1: 2}, "any": np.array([None])}
    state, found = plain({**values, **arrays, **other})
    state = json.loads(json.dumps(state))
    back = from_plain(state, found)
    assert {k: back[k] for k in values} == values and set(back) == {*values, *arrays}
    assert np.float32(back["best"]) == np.float32(0.1)
    np.testing.assert_array_equal(back["grid"], np.eye(3))
    assert all((a == b).all() for a, b in zip(back["weights"], weights, strict=True))
