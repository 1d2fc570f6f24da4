"""Files, folders, globs and URLs -> images and the names of their outputs."""

import functools
import http.server
import os
import threading

import fsspec
import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from segkit.data.inputs import find_inputs
from segkit.data.places import place
from segkit.data.rasters import open_raster
from segkit.data.readers import read_image

FILES = (
    "b.png",
    "a.TIF",
    "deep/er/c.jpg",
    "deep/d.npy",
    "deep/notes.txt",
    ".hidden.png",
    ".folder/e.png",
    "Thumbs.db",
    "set/images/x.png",
    "set/masks/x.png",
    "set/truth/x.png",
    "masks/y.png",
)
NAMES = ["a", "b", "deep/d", "deep/er/c", "masks/y", "set/x"]


def fill(root, names=FILES):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 3)).save(path, "PNG")
    return root


@pytest.fixture
def root(tmp_path):
    return fill(tmp_path / "in")


def names(what):
    return [found.name for found in find_inputs(what)]


def test_a_folder(root):
    found = find_inputs(root)
    assert [each.name for each in found] == NAMES
    assert [str(each.path.relative_to(root)) for each in found] == [
        "a.TIF",
        "b.png",
        "deep/d.npy",
        "deep/er/c.jpg",
        "masks/y.png",
        "set/images/x.png",
    ]
    assert find_inputs(f"{root}/") == found == find_inputs([root, str(root)])


def test_files(root):
    assert names(root / "b.png") == ["b"]
    assert names([str(root / "deep/er/c.jpg"), root / "b.png"]) == ["b", "c"]
    assert names(root / "deep/notes.txt") == ["notes"]  # named itself, it may end as it likes
    assert names(root / ".hidden.png") == [".hidden"]
    assert names([root / "deep/d.npy", root / "deep"]) == ["d", "er/c"]  # once, as named first


def test_zarr_stores_count_as_one(tmp_path):
    for path in ("s/a.zarr", "s/v2", "s/group/b.ome.zarr/0"):
        version = 2 if "v2" in path else 3
        zarr.create_array(tmp_path / path, shape=(4, 4), dtype="u1", zarr_format=version)
    zarr.create_group(tmp_path / "s/group/b.ome.zarr")
    (tmp_path / "s/c.zarr.zip").write_bytes(b"PK")
    expected = ["a", "c", "group/b.ome", "v2"]
    assert names(tmp_path / "s") == expected == names(tmp_path / "s/**") == names(f"{tmp_path}/s/*")
    assert names(tmp_path / "s/a.zarr") == ["a"] and names(tmp_path / "s/v2") == ["v2"]
    assert names(tmp_path / "s/group/b.ome.zarr/0") == ["0"]


def test_globs(root):
    assert names(root / "*.png") == ["b"]
    assert names(f"{root}/**/*.[jn]p*") == ["deep/d", "deep/er/c"]
    assert names(f"{root}/deep/*/c.jp?") == ["er/c"]
    assert names(f"{root}/deep/*") == ["d", "er/c"]  # notes.txt is no image; folders are searched
    everything = [*NAMES[:-1], "set/masks/x", "set/truth/x", "set/x"]
    assert names(root / "**") == everything  # also the masks: it was asked for in so many words
    assert names(f"{root}/set/m*/*.png") == ["masks/x"]


def test_names_may_hold_what_globs_are_made_of(root):
    fill(root, ["scan[1].png", "what?.png"])
    assert names(root / "scan[1].png") == ["scan[1]"]
    assert names(root / "what?.png") == ["what?"]


def test_relative_paths(root, monkeypatch):
    monkeypatch.chdir(root / "deep")
    for what in (".", "./", "*", os.path.join("..", "deep")):
        assert names(what) == ["d", "er/c"]
    assert names("d.npy") == names("./d.npy") == ["d"]


def test_names_differ(tmp_path):
    fill(tmp_path, ["a.png", "a.tif", "b.png", "x/a.png", "y/a.png"])
    assert names(tmp_path) == ["a.png", "a.tif", "b", "x/a", "y/a"]
    with pytest.raises(ValueError, match=r"x/a\.png and .*y/a\.png would give.*a\.png twice"):
        find_inputs([tmp_path / "x/a.png", tmp_path / "y/a.png"])
    with pytest.raises(ValueError, match=r"a\.png twice\. Name a folder above both"):
        find_inputs([tmp_path / "x", tmp_path / "y"])


def test_links(root):
    os.symlink(root, root / "deep/up")  # in a circle
    os.symlink(root / "b.png", root / "deep/link.png")
    found = names(root / "deep")
    assert found == ["d", "er/c", "link", "up/a", "up/b", "up/masks/y", "up/set/x"]


def test_composed_names(tmp_path):
    fill(tmp_path, ["u\u0308ber.png"])  # as macOS stores it
    assert names(tmp_path) == ["\u00fcber"]


def test_urls(root):
    fsspec.filesystem("memory").put(str(root), "memory://scans", recursive=True)
    assert names("memory://scans") == NAMES
    assert names("memory://scans/*.png") == ["b"]
    assert names("memory://scans/**/*.npy") == ["deep/d"]
    found = find_inputs(["memory://scans/b.png", place("memory://scans/deep")])
    assert [each.name for each in found] == ["b", "d", "er/c"]
    assert read_image(found[0].path).shape == (3, 4, 3)
    with pytest.raises(FileNotFoundError, match="There is no file or folder memory://scans/zz"):
        find_inputs("memory://scans/zz")


@pytest.fixture
def web(root):
    """The files behind a web server that lists folders and gives whole files alone."""
    handler = functools.partial(QuietHandler, directory=str(root))
    server = QuietServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


class QuietServer(http.server.ThreadingHTTPServer):
    """Says nothing on stderr when a client that has seen enough hangs up."""

    def handle_error(self, *args):
        pass


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Says nothing on stderr."""

    def log_message(self, *args):
        pass


def test_web_servers(web, root):
    assert names(f"{web}/b.png") == ["b"] == names(f"{web}/b.png?token=1")
    assert names(f"{web}/deep/") == ["d", "er/c"] and names(f"{web}/*.png") == ["b"]
    with pytest.raises(FileNotFoundError, match="no file or folder http://.*/z.png"):
        find_inputs(f"{web}/z.png")
    zarr.create_array(root / "s.zarr", shape=(4, 5), dtype="u1")[:] = 7
    tifffile.imwrite(root / "t.tif", np.zeros((900, 900), np.uint8))  # more than one request
    picture, store, tiff = find_inputs([f"{web}/b.png?x=1", f"{web}/s.zarr", f"{web}/t.tif"])
    assert [each.name for each in (picture, store, tiff)] == ["b", "s", "t"]
    with open_raster(picture.path) as raster:
        assert raster.shape == (3, 4)
    with open_raster(store.path, 1) as raster:
        np.testing.assert_array_equal(raster.read(slice(0, 4), slice(0, 5)), np.full((4, 5, 1), 7))
    with pytest.raises(ValueError, match=r"t\.tif cannot be read by window: .*Download it"):
        open_raster(tiff.path).__enter__()


def test_nothing_there(tmp_path, root):
    with pytest.raises(FileNotFoundError, match=r"folder .*in/c\. .*in holds a\.TIF, b\.png, deep"):
        find_inputs(root / "c")
    with pytest.raises(FileNotFoundError, match=r"no/such\. .*no holds no such folder"):
        find_inputs(tmp_path / "no/such")
    with pytest.raises(ValueError, match=r"in/\*\.bmp holds no images: .*\.png.*Received: nothing"):
        find_inputs(root / "*.bmp")
    with pytest.raises(ValueError, match=r"\*/\*\.txt holds no images.*Received: notes\.txt"):
        find_inputs(root / "*/*.txt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty holds no images: .*Received: nothing"):
        find_inputs(tmp_path / "empty")
    (tmp_path / "empty/a.bmp").write_text("")
    with pytest.raises(ValueError, match=r"empty holds no images: .*Received: a\.bmp"):
        find_inputs(tmp_path / "empty")
    for nothing in ([], "", " "):
        with pytest.raises(ValueError, match="Name an image, a folder, a glob or a URL. Received"):
            find_inputs(nothing)
    with pytest.raises(ValueError, match="neither a path nor a URL"):
        find_inputs("nonsense://a/b.png")


def test_many_files_are_found_without_opening_them(tmp_path):
    for number in range(300):
        (tmp_path / f"{number:03}.png").write_bytes(b"")
    assert len(find_inputs(tmp_path)) == 300


def test_lists_of_omegaconf(root):
    from omegaconf import ListConfig

    assert names(ListConfig([str(root / "b.png"), str(root / "a.TIF")])) == ["a", "b"]
    np.testing.assert_array_equal(read_image(find_inputs(str(root))[1].path), np.zeros((3, 4, 3)))
