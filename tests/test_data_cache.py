"""Caches: what comes back, what does not, and what several runs and damages do to a folder."""

import errno
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import types
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from upath import UPath

from segkit.data.cache import (
    DiskCache,
    MemoryCache,
    NoCache,
    caches,
    content_key,
    disk,
    entries,
    file_key,
    open_cache,
)

KEY = content_key("an image")
ARRAYS = [
    np.arange(60, dtype=np.uint8).reshape(4, 5, 3),
    np.linspace(0, 1, 6, dtype=np.float32).reshape(2, 3).T,  # not contiguous
    np.array([True, False, True]),
    np.array(7, np.int64),
    np.zeros((0, 3), np.uint16),
    np.array([1, 258], ">u2"),
]


def counting(arrays=tuple(ARRAYS)):
    def make():
        make.calls += 1
        return tuple(array.copy() for array in arrays)

    make.calls = 0
    return make


def refuse():
    raise AssertionError("asked to make what is in the cache")


def assert_same(found, expected=tuple(ARRAYS)):
    assert isinstance(found, tuple) and len(found) == len(expected)
    for ours, theirs in zip(found, expected):
        np.testing.assert_array_equal(ours, theirs, strict=True)
        assert not ours.flags.writeable and type(ours) is np.ndarray


def entry(folder, key=KEY):
    return folder / key[:2] / key[2:]


def unfinished(folder):
    return list((folder / disk.STAGE).iterdir())


def large(seed=0):
    values = np.random.default_rng(seed).integers(0, 256, entries.MAPPED + 1, np.uint8)
    return values, np.array([seed], np.int32)


@pytest.fixture(params=["none", "memory", "disk"])
def opened(request, tmp_path):
    return open_cache(request.param, tmp_path / "cache")


def test_the_same_comes_back_and_cannot_be_written_to(opened):
    make = counting()
    for _ in range(3):
        found = opened.get(KEY, make)
        assert_same(found)
    with pytest.raises(ValueError, match="read-only"):
        found[0][:] = 0
    assert make.calls == (3 if isinstance(opened, NoCache) else 1)


def test_an_error_comes_through_and_leaves_nothing(opened):
    def fail():
        raise KeyError("no such file")

    with pytest.raises(KeyError, match="no such file"):
        opened.get(KEY, fail)
    assert_same(opened.get(KEY, counting()))


@pytest.mark.parametrize(
    "wrong", [np.array([{}]), np.array(["a"]), np.zeros(2, [("a", int)]), [1, 2]]
)
def test_only_plain_numbers_are_kept(opened, wrong):
    with pytest.raises(ValueError, match="arrays of plain numbers. Received: "):
        opened.get(KEY, lambda: (ARRAYS[0], wrong))
    assert_same(opened.get(KEY, counting()))


@pytest.mark.parametrize("key", ["", "../../etc/passwd", "ABCDEF0123456789", "12", 12345678, None])
def test_a_key_is_a_hex_digest(opened, key):
    with pytest.raises(ValueError, match="A key is a hex digest.*Received: "):
        opened.get(key, refuse)


def test_many_threads_get_what_belongs_to_their_key(opened):
    keys = [content_key(str(number)) for number in range(20)] * 10

    def ask(key):
        expected = np.frombuffer(bytes.fromhex(key), np.uint8)
        return bool((opened.get(key, lambda: (expected.copy(),))[0] == expected).all())

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, keys))


def test_two_threads_may_both_make_and_get_the_same(tmp_path):
    for opened in (MemoryCache(), DiskCache(tmp_path)):
        both = threading.Barrier(2)

        def make():
            both.wait(20)  # neither goes on until the other one makes, too
            return tuple(ARRAYS)

        with ThreadPoolExecutor(2) as pool:
            for future in [pool.submit(opened.get, KEY, make) for _ in range(2)]:
                assert_same(future.result())
        assert_same(opened.get(KEY, refuse))


def test_kinds(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="cache must be one of none, memory, disk. Rec.*'ram'"):
        open_cache("ram")
    assert open_cache("disk", str(tmp_path)).folder == tmp_path
    monkeypatch.setenv("HOME", str(tmp_path))
    assert open_cache("disk", "~/here").folder == tmp_path / "here"
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert open_cache("disk").folder == tmp_path / ".cache/segkit"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert open_cache("disk").folder == tmp_path / ".cache/segkit"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert open_cache("disk").folder == tmp_path / "xdg/segkit"
    assert not list(tmp_path.iterdir())  # opened, and nothing to keep yet


# Keys


def test_content_keys():
    keys = [content_key(*parts) for parts in ([], [""], ["ab", "c"], ["a", "bc"], ["abc"])]
    assert len(set(keys)) == len(keys)
    assert content_key("é", b"\0") == content_key("é".encode(), "\0")
    entries.require_key(keys[0])


def test_file_keys_are_of_the_content(tmp_path):
    (tmp_path / "a").write_bytes(b"one")
    (tmp_path / "b").write_bytes(b"one")
    (tmp_path / "c").write_bytes(b"two")
    a, b, c = (file_key(tmp_path / name) for name in "abc")
    assert a == b == file_key(str(tmp_path / "a")) and a != c
    stored = UPath("memory://cache/a")
    stored.parent.mkdir(parents=True, exist_ok=True)
    stored.write_bytes(b"one")
    assert file_key(stored) == a
    with pytest.raises(FileNotFoundError, match="missing.png"):
        file_key(tmp_path / "missing.png")


def remote(name="a", protocol="https", content=b"one", **info):
    """A remote file of which the file system says `info`."""
    path = UPath(f"memory://remote/{name}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    described = types.SimpleNamespace(info=lambda _: {"size": len(content), **info})

    class Remote:
        fs, protocol, path = described, None, str(name)

        def open(self, mode):
            return UPath(f"memory://remote/{name}").open(mode)

        def __str__(self):
            return f"{self.protocol}://{name}"

    Remote.protocol = protocol
    return Remote()


def test_remote_files_are_known_by_their_tags():
    same = {"content": b"two"}  # not looked at
    tagged = remote(ETag='"1"')
    assert file_key(tagged) == file_key(remote(ETag='"1"', **same))
    assert file_key(tagged) != file_key(remote(ETag='"2"'))
    assert file_key(tagged) != file_key(remote("b", ETag='"1"'))
    weak = {"ETag": 'W/"1"'}
    assert file_key(remote(**weak)) != file_key(remote(**weak, **same))
    assert file_key(remote()) != file_key(remote(**same))
    for hashed in ({"protocol": "s3", "ETag": '"5d41"'}, {"protocol": "gs", "md5Hash": "5d41"}):
        assert file_key(remote("a", **hashed)) == file_key(remote("b", **hashed))


# In memory


def test_memory_is_bounded(caplog):
    caplog.set_level(logging.INFO)
    opened = MemoryCache(limit=10_000)
    makes = {content_key(str(i)): counting([np.full(3000, i, np.uint8)]) for i in range(6)}
    for _ in range(2):
        for i, (key, make) in enumerate(makes.items()):
            assert_same(opened.get(key, make), [np.full(3000, i, np.uint8)])
    assert [make.calls for make in makes.values()] == [1, 1, 2, 2, 2, 2]
    assert caplog.text.count("The cache in memory is full") == 1
    small = counting([np.zeros(10)])
    assert opened.get(KEY, small) and opened.get(KEY, small) and small.calls == 1


def test_memory_keeps_no_more_than_it_shows():
    whole = np.zeros((1000, 1000), np.uint8)
    found = MemoryCache().get(KEY, lambda: (whole[:2, :2],))[0]
    whole[:] = 1
    assert not found.any()
    assert found.base is None or found.base.nbytes == 4


def test_memory_is_taken_once_for_a_key():
    opened, both = MemoryCache(limit=10_000), threading.Barrier(2)

    def make():
        both.wait(20)
        return (np.zeros(3000, np.uint8),)

    with ThreadPoolExecutor(2) as pool:
        found = [pool.submit(opened.get, KEY, make) for _ in range(2)]
        assert found[0].result()[0] is found[1].result()[0]
    other = content_key("another image")
    opened.get(other, counting([np.ones(4000, np.uint8)]))
    opened.get(other, refuse)


def test_the_limit_follows_the_memory_there_is(tmp_path, monkeypatch):
    read = {"/proc/meminfo": "MemTotal: 9 kB\nMemAvailable:  4000 kB\n"}

    def read_text(path):
        if str(path) not in read:
            raise FileNotFoundError(path)
        return read[str(path)]

    monkeypatch.setattr(caches.Path, "read_text", read_text)
    assert MemoryCache().limit == 1000 * 1024
    read["/sys/fs/cgroup/memory.max"] = "max\n"
    assert MemoryCache().limit == 1000 * 1024
    read["/sys/fs/cgroup/memory.max"] = "400000\n"
    assert MemoryCache().limit == 100_000
    read.clear()
    assert MemoryCache().limit == 2 * 2**30


# On disk


@pytest.mark.parametrize("made", [tuple(ARRAYS), large(), ()], ids=["small", "large", "nothing"])
def test_a_later_run_finds_it(tmp_path, made):
    assert_same(DiskCache(tmp_path / "a" / "b").get(KEY, lambda: made), made)
    for _ in range(2):
        later = DiskCache(tmp_path / "a" / "b")
        assert_same(later.get(KEY, refuse), made)
        assert_same(later.get(KEY, refuse), made)
    assert unfinished(tmp_path / "a" / "b") == []


@pytest.mark.parametrize("made, mapped", [(tuple(ARRAYS), False), (large(), True)])
def test_only_large_entries_are_mapped(tmp_path, made, mapped):
    opened = DiskCache(tmp_path)
    opened.get(KEY, lambda: made)
    found = opened.get(KEY, refuse)
    with open("/proc/self/maps") as maps:
        assert (str(entry(tmp_path)) in maps.read()) == mapped
    assert_same(found, made)


def test_where_files_cannot_be_mapped_they_are_read(tmp_path, monkeypatch):
    def refuse_to_map(*_, **__):
        raise OSError(errno.ENODEV, "No such device")

    made = large()
    DiskCache(tmp_path).get(KEY, lambda: made)
    monkeypatch.setattr(entries.mmap, "mmap", refuse_to_map)
    assert_same(DiskCache(tmp_path).get(KEY, refuse), made)


def damages(content):
    """What can become of a file, by name."""
    for at in (0, 8, 13, 17, 25, 50, 70, len(content) // 2, len(content) - 1):
        flipped = bytearray(content)
        flipped[at] ^= 4
        yield f"flipped {at}", bytes(flipped)
    for length in (0, 1, 63, 64, 100, len(content) // 2, len(content) - 1):
        yield f"cut to {length}", content[:length]
    yield "longer", content + b"\0"
    yield "another file", b"\x89PNG" * 40
    yield "of another version", content[:8] + b"\x02" + content[9:]


@pytest.mark.parametrize("made", [tuple(ARRAYS), large()], ids=["small", "large"])
def test_a_damaged_entry_is_made_anew(tmp_path, made, caplog):
    caplog.set_level(logging.DEBUG, "segkit")
    DiskCache(tmp_path).get(KEY, lambda: made)
    whole = entry(tmp_path).read_bytes()
    for name, content in damages(whole):
        entry(tmp_path).write_bytes(content)
        make = counting(made)
        caplog.clear()
        # The unused bytes at the end of the header are the only ones that may change.
        assert_same(DiskCache(tmp_path).get(KEY, make), made)
        assert make.calls == (name != "flipped 50"), name
        assert ("is made anew" in caplog.text) == (name != "flipped 50"), name
        if make.calls:
            assert entry(tmp_path).read_bytes() == whole, name


def test_damage_while_a_run_is_using_it(tmp_path):
    """Small entries are verified each time, large ones when the file is another."""
    for key, made in ((KEY, large()), (content_key("small"), tuple(ARRAYS))):
        opened = DiskCache(tmp_path)
        opened.get(key, lambda: made)
        assert_same(opened.get(key, refuse), made)
        content = bytearray(entry(tmp_path, key).read_bytes())
        content[-100] ^= 1
        entry(tmp_path, key).unlink()
        entry(tmp_path, key).write_bytes(content)
        os.utime(entry(tmp_path, key), (1, 1))
        make = counting(made)
        assert_same(opened.get(key, make), made)
        assert make.calls == 1


def test_an_entry_is_not_taken_for_another(tmp_path):
    opened, other = DiskCache(tmp_path), content_key("another image")
    opened.get(KEY, counting())
    entry(tmp_path, other).parent.mkdir()
    os.rename(entry(tmp_path), entry(tmp_path, other))
    make = counting([np.zeros(3)])
    assert_same(opened.get(other, make), [np.zeros(3)])
    assert make.calls == 1


def test_a_folder_in_the_place_of_an_entry(tmp_path):
    entry(tmp_path).mkdir(parents=True)
    with pytest.warns(UserWarning, match="cannot be written to: Is a directory"):
        assert_same(DiskCache(tmp_path).get(KEY, counting()))


def test_the_folder_is_nobody_elses_and_may_be_deleted_at_any_time(tmp_path):
    folder = tmp_path / "cache"
    opened = DiskCache(folder)
    opened.get(KEY, counting())
    assert folder.stat().st_mode & 0o077 == 0
    assert (folder / "CACHEDIR.TAG").read_text().startswith("Signature: 8a477f597d28d172789f068")
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    make = counting()
    assert_same(opened.get(KEY, make))
    folder.rename(tmp_path / "away")
    assert_same(opened.get(KEY, make))
    assert make.calls == 2 and opened.get(KEY, refuse)


def test_an_entry_is_whole_when_it_appears(tmp_path, monkeypatch):
    def look_and_move(unfinished, path):
        with open(unfinished, "rb", buffering=0) as file:
            assert_same(entries.read(file, KEY))
        os.makedirs(os.path.dirname(path))
        os.replace(unfinished, path)

    monkeypatch.setattr(disk, "_move", look_and_move)
    DiskCache(tmp_path).get(KEY, counting())
    assert_same(DiskCache(tmp_path).get(KEY, refuse))


def test_deleted_in_the_middle_of_writing(tmp_path, monkeypatch):
    def delete(file):
        os.unlink(file.name)

    opened = DiskCache(tmp_path)
    monkeypatch.setattr(disk, "_hold", delete)
    assert_same(opened.get(KEY, counting()))
    monkeypatch.undo()
    assert_same(opened.get(KEY, counting()))
    assert_same(opened.get(KEY, refuse))


# What cannot be written


def still_works(folder, reason):
    """Each image is made every time, under one warning."""
    opened, make = DiskCache(folder), counting()
    expected = rf"The cache {folder} cannot be written to: {reason}.*cache_folder"
    with pytest.warns(UserWarning, match=expected) as warned:
        for number in range(3):
            assert_same(opened.get(content_key(str(number)), make))
        assert_same(opened.get(content_key("0"), make))
    assert len(warned) == 1 and make.calls == 4


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "cache").write_text("")
    still_works(tmp_path / "cache", "File exists")
    still_works(tmp_path / "cache" / "inner", "Not a directory")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_of_somebody_else(tmp_path):
    tmp_path.chmod(0o500)
    still_works(tmp_path / "cache", "Permission denied")


def test_a_read_only_disk(tmp_path, monkeypatch):
    def refuse_to_write(path, mode, **_):
        if "x" in mode:
            raise OSError(errno.EROFS, "Read-only file system")
        return open(path, mode, **_)

    DiskCache(tmp_path).get(KEY, counting())
    monkeypatch.setattr(disk, "open", refuse_to_write, raising=False)
    assert_same(DiskCache(tmp_path).get(KEY, refuse))  # what is there is used, without a word
    still_works(tmp_path, "Read-only file system")


def test_an_entry_that_may_not_be_read(tmp_path, monkeypatch):
    def refuse_to_read(path, mode, **_):
        if "r" in mode:
            raise PermissionError(errno.EACCES, "Permission denied")
        return open(path, mode, **_)

    DiskCache(tmp_path).get(KEY, counting())
    monkeypatch.setattr(disk, "open", refuse_to_read, raising=False)
    assert_same(DiskCache(tmp_path).get(KEY, counting()))


def test_a_disk_that_fills_up_while_an_entry_is_written(tmp_path, monkeypatch):
    class Full:
        tries = 0

        def __init__(self, path, mode):
            Full.tries += 1
            self.file = open(path, mode)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def fileno(self):
            return self.file.fileno()

        def writelines(self, parts):
            self.file.write(parts[0])
            assert len(unfinished(tmp_path)) == 1
            raise OSError(errno.ENOSPC, "No space left on device")

    def fills_up(path, mode, **options):
        return Full(path, mode) if "x" in mode else open(path, mode, **options)

    monkeypatch.setattr(disk, "open", fills_up, raising=False)
    still_works(tmp_path, "No space left on device")
    assert unfinished(tmp_path) == [] and Full.tries == 1


def test_threads_that_fail_together_warn_once(tmp_path, monkeypatch):
    both = threading.Barrier(2)

    def meet_and_fail(*_):
        both.wait(20)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(disk, "_require_room", meet_and_fail)
    opened = DiskCache(tmp_path)
    with pytest.warns(UserWarning, match="Input/output error") as warned:
        with ThreadPoolExecutor(2) as pool:
            for future in [pool.submit(opened.get, key, counting()) for key in (KEY, KEY[::-1])]:
                assert_same(future.result())
    assert len(warned) == 1


@pytest.mark.parametrize(
    "total, free, kept", [(2**40, 2**30, False), (2**40, 2**30 + 2**20, True)]
    + [(2**30, 2**25, False), (2**30, 2**26, True), (0, 0, True)]
)  # fmt: skip
def test_room_is_left_on_the_disk(tmp_path, monkeypatch, total, free, kept):
    state = types.SimpleNamespace(f_frsize=1024, f_blocks=total / 1024, f_bavail=free / 1024)
    monkeypatch.setattr(disk.os, "statvfs", lambda _: state)
    if not kept:
        still_works(tmp_path, r"[01]\.[0-9] GiB of the disk are free, and stay so")
    else:
        DiskCache(tmp_path).get(KEY, counting())
    assert entry(tmp_path).exists() == kept
    assert unfinished(tmp_path) == []


# Several runs


def run(code, *arguments):
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


STUCK = """
import sys, time
import numpy as np
from segkit.data.cache import disk
def stay(*_):
    print("writing", flush=True)
    time.sleep(60)
disk._move = stay
disk.DiskCache(sys.argv[1]).get(sys.argv[2], lambda: (np.ones(100_000),))
"""


def test_a_run_that_is_killed_while_writing(tmp_path):
    stuck = run(STUCK, tmp_path, KEY)
    assert stuck.stdout.readline() == "writing\n"
    (left,) = unfinished(tmp_path)
    hours_ago = time.time() - 2 * 3600
    try:
        os.utime(left, (hours_ago, hours_ago))
        DiskCache(tmp_path)
        assert unfinished(tmp_path) == [left]  # old, but its writer lives
    finally:
        stuck.send_signal(signal.SIGKILL)
        stuck.communicate()
    os.utime(left)
    opened = DiskCache(tmp_path)
    assert unfinished(tmp_path) == [left]  # young; it could be one that is not held yet
    assert not entry(tmp_path).exists()
    assert_same(opened.get(KEY, counting()))
    os.utime(left, (hours_ago, hours_ago))
    DiskCache(tmp_path)
    assert unfinished(tmp_path) == []
    assert_same(opened.get(KEY, refuse))


def test_where_nothing_can_be_held(tmp_path, monkeypatch):
    def refuse_to_hold(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(disk.fcntl, "flock", refuse_to_hold)
    DiskCache(tmp_path).get(KEY, counting())
    left = tmp_path / disk.STAGE / "left"
    left.touch()
    assert_same(DiskCache(tmp_path).get(KEY, refuse))
    assert left.exists()
    os.utime(left, (1, 1))
    DiskCache(tmp_path)
    assert not left.exists()


TOGETHER = """
import sys
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from segkit.data.cache import content_key, open_cache
opened, made = open_cache("disk", sys.argv[1]), []
def ask(number):
    expected = np.full((50, 50), number)
    make = lambda: made.append(number) or (expected,)
    assert (opened.get(content_key(str(number)), make)[0] == expected).all()
sys.stdin.readline()
with ThreadPoolExecutor(4) as pool:
    list(pool.map(ask, list(range(100)) * 3))
print(len(made))
"""


def test_two_runs_at_once(tmp_path):
    command = [sys.executable, "-c", TOGETHER, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    runs = [subprocess.Popen(command, **pipes) for _ in range(2)]
    for started in runs:
        started.stdin.write("go\n")
        started.stdin.flush()
    made = [int(started.communicate(timeout=60)[0]) for started in runs]
    assert [started.returncode for started in runs] == [0, 0]
    assert max(made) <= 400 and sum(made) >= 100
    opened = DiskCache(tmp_path)
    for number in range(100):
        assert (opened.get(content_key(str(number)), refuse)[0] == number).all()
    assert unfinished(tmp_path) == []
