"""Local paths and URLs; S3 against a server of this computer."""

import os
import warnings
from pathlib import Path

import fsspec
import numpy as np
import pytest
from PIL import Image
from upath import UPath

from segkit.data.places import is_local, opened, place, read_bytes
from segkit.data.readers import image_size, read_image, require_whole


@pytest.fixture(scope="module")
def server():
    """The address of an S3 server that knows the bucket `data`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from moto.server import ThreadedMotoServer

        running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def bucket(server, monkeypatch):
    """A URL on the server, with everything a user sets in the environment."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    s3 = fsspec.filesystem("s3", skip_instance_cache=True)
    s3.makedirs("data", exist_ok=True)
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    yield "s3://data"
    fsspec.get_filesystem_class("s3").clear_instance_cache()


@pytest.fixture
def png(tmp_path):
    Image.fromarray(np.arange(24, dtype=np.uint8).reshape(4, 6)).save(tmp_path / "grey.png")
    return (tmp_path / "grey.png").read_bytes()


def test_local_paths_stay_paths(tmp_path):
    for root in (tmp_path, str(tmp_path), f"file://{tmp_path}", UPath(f"file://{tmp_path}")):
        assert place(root) == tmp_path and isinstance(place(root), Path) and is_local(place(root))
    assert place("data/a") == Path("data/a")


def test_a_url_in_memory(png):
    root = place("memory://places")
    (root / "a/b.png").write_bytes(png)
    assert not is_local(root) and str(root / "a/b.png") == "memory://places/a/b.png"
    assert read_bytes(root / "a/b.png") == png and place(root) is root
    assert image_size(root / "a/b.png") == (4, 6)
    assert read_image(root / "a/b.png", 1)[1, 2, 0] == 8
    require_whole(root / "a/b.png")


def test_a_bucket(bucket, png):
    root = place(bucket)
    (root / "images/ä b.png").write_bytes(png)
    path = next((root / "images").iterdir())
    assert path.name == "ä b.png" and not is_local(path)
    assert image_size(path) == (4, 6)
    assert read_image(path, 1)[1, 2, 0] == 8
    require_whole(path)
    with opened(path) as file:
        file.seek(1)
        assert file.read(3) == b"PNG"
    with pytest.raises(FileNotFoundError, match="There is no file s3://data/images/c.png"):
        read_bytes(root / "images/c.png")
    with pytest.raises(FileNotFoundError, match="There is no file s3://data/images/c.png"):
        image_size(root / "images/c.png")
    (root / "images/cut.png").write_bytes(png[:50])
    with pytest.raises(ValueError, match="s3://data/images/cut.png is cut short"):
        require_whole(root / "images/cut.png")


def test_a_server_that_is_not_there(monkeypatch, bucket):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    root = UPath("s3://data", config_kwargs={"connect_timeout": 1, "retries": {"max_attempts": 0}})
    with pytest.raises(OSError, match="s3://data/a.png cannot be read.*Check the connection"):
        read_bytes(root / "a.png")


def test_an_unknown_protocol():
    with pytest.raises(ValueError, match="protocol 'nowhere'. Known ones are s3"):
        place("nowhere://bucket/data")


def test_a_package_that_is_missing(monkeypatch):
    def missing(protocol):
        raise ImportError("Please install gcsfs to access Google Storage")

    monkeypatch.setattr("segkit.data.places.fsspec.get_filesystem_class", missing)
    with pytest.raises(ValueError, match="gs://bucket cannot be opened.*pip install gcsfs"):
        place("gs://bucket")


def test_files_that_cannot_be_opened(tmp_path):
    for read in (read_bytes, image_size, require_whole):
        with pytest.raises(FileNotFoundError, match=r"There is no file .*gone\.png"):
            read(tmp_path / "gone.png")
        with pytest.raises(IsADirectoryError, match="is a folder. Expected: a file"):
            read(tmp_path)


def test_a_file_that_may_not_be_read(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"")
    path.chmod(0)
    root = os.geteuid() == 0  # may read everything; for a moment, it is somebody else
    try:
        if root:
            os.seteuid(65_534)
        for read in (read_bytes, read_image, image_size, require_whole):
            with pytest.raises(PermissionError, match=r"a\.png may not be read.*denied. Allow it"):
                read(path)
    finally:
        if root:
            os.seteuid(0)
