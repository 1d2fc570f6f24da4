"""A data set behind a URL is the data set on disk."""

import folder_data
import fsspec
import numpy as np
import pytest

from segkit.data.folder import BadData, splits


def upload(root, url, **options):
    """Copies a local data set to a URL."""
    files = fsspec.filesystem(url.partition("://")[0], **options)
    files.put(str(root), url, recursive=True)
    return files


@pytest.fixture(scope="module")
def s3():
    """An S3 server on loopback, and where it is told to users of fsspec."""
    moto = pytest.importorskip("moto.server", reason="moto, an S3 server, is not installed")
    pytest.importorskip("s3fs", reason="s3fs is not installed")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    variables = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        yield
    server.stop()


@pytest.fixture
def root(tmp_path):
    folder_data.make(tmp_path / "data", "abc")
    (tmp_path / "data/annotations.csv").write_text("image,annotated\ntrain/b,*\n")
    return tmp_path / "data"


def assert_same(found, local):
    assert {name: folder.names for name, folder in found.items()} == {
        name: folder.names for name, folder in local.items()
    }
    for name, folder in found.items():
        for ours, theirs in zip(folder, local[name]):
            np.testing.assert_array_equal(ours.image, theirs.image)
            np.testing.assert_array_equal(ours.mask, theirs.mask)
            np.testing.assert_array_equal(ours.annotated, theirs.annotated)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of botocore
@pytest.mark.parametrize("cache", ["none", "disk"])
def test_s3(s3, root, tmp_path, cache):
    files = fsspec.filesystem("s3")
    files.mkdir(f"bucket-{cache}")
    upload(root, f"s3://bucket-{cache}/my data")
    options = {"size": 8, "cache": cache, "cache_folder": str(tmp_path / "cache")}
    found = splits(f"s3://bucket-{cache}/my data", **options)
    assert_same(found, splits(root, size=8))
    files.pipe(f"bucket-{cache}/my data/train/masks/a.png", b"")
    with pytest.raises(BadData, match=r"s3://bucket-.*/train/masks/a\.png"):
        splits(f"s3://bucket-{cache}/my data", **options)


def test_memory(root):
    files = upload(root, "memory://remote-test")
    try:
        assert_same(splits("memory://remote-test", size=8), splits(root, size=8))
        with pytest.raises(BadData, match="There is no folder memory:.*nowhere"):
            splits("memory://nowhere")
    finally:
        files.rm("/remote-test", recursive=True)


def test_a_file_url_is_a_path(root):
    assert_same(splits(f"file://{root}", size=8), splits(root, size=8))
