"""What somebody names on the command line -> the images there."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from typing import Iterator, NamedTuple, Sequence

from upath import UPath

from segkit.data.listing import content, entries, few
from segkit.data.places import Place, composed, is_file, is_folder, is_local, named, place
from segkit.data.rasters.stores import STORE_SUFFIXES, file_name, is_store, is_web
from segkit.data.readers.formats import IMAGE_SUFFIXES

_ENDINGS = (*STORE_SUFFIXES, *IMAGE_SUFFIXES)
_ANNOTATIONS = ("masks", "truth")  # of a folder data set, beside its images


class Input(NamedTuple):
    """An image, and what its outputs are called: a relative path without ending, "/" in it."""

    path: Place
    name: str


def find_inputs(what: str | os.PathLike | Sequence[str | os.PathLike]) -> list[Input]:
    """Finds the images that are named: files, folders, globs, URLs, or a list of those.

    A folder is searched with the folders in it for what ends like an image that can be read; a
    zarr store counts as one. Hidden files, and masks/ and truth/ beside an images/, are left
    alone. A file that is named itself may end as it likes.

    Args:
        what: paths or URLs (s3://, https://, memory://, ...), in which *, ?, [ab] and ** stand for
            any part of a name; a file whose name holds such characters goes first. https:// URLs
            may hold * alone, since ? begins a query there, and are folders if they end with "/".

    Returns:
        in the order of their names, each image once. The name is the path below the folder that
        was named, or below what goes before the first *; of a single file, its own. Where two
        differ in their ending alone, it stays.

    Raises:
        FileNotFoundError: if there is no such place. ValueError: if there are no images, or two
            would be called the same. OSError: naming the place, if it cannot be listed.
    """
    wanted = [what] if isinstance(what, (str, os.PathLike)) else list(what)
    if not wanted:
        raise ValueError("Name an image, a folder, a glob or a URL. Received: an empty list.")
    found: dict[str, tuple[Place, str]] = {}
    for one in wanted:
        for path, name in _images(one):
            identity = os.path.abspath(path) if is_local(path) else str(path)
            found.setdefault(identity, (path, composed(name)))
    return _named(list(found.values()))


def _images(what: str | os.PathLike) -> list[tuple[Place, str]]:
    """The images of one word, and their names with the ending."""
    text = os.fspath(what) if not isinstance(what, UPath) else str(what)
    if not text.strip():
        raise ValueError(f"Name an image, a folder, a glob or a URL. Received: {text!r}.")
    root = place(what)
    if _is_glob(text, root):
        paths = _matching(text, root)
        images = [image for path, name in paths for image in _of(path, name)]
        seen = [path.name for path, _ in paths]
    elif _is_one(root, text):
        images, seen = [(root, file_name(root))], []
    else:
        _require_folder(root)
        images = _of(root, "")
        seen = [entry.name for entry in entries(root)]
    if not images:
        raise ValueError(
            f"{text} holds no images: files that end with one of {', '.join(IMAGE_SUFFIXES)}, or "
            f"zarr stores. Received: {few(seen) if seen else 'nothing'}."
        )
    return images


def _is_one(root: Place, text: str) -> bool:
    """Whether it is a file, or a store, which is one image."""
    if is_web(root) and text.endswith("/") and not _is_image(root):
        return False
    return is_file(root) or (_is_image(root) and is_folder(root))


def _require_folder(root: Place) -> None:
    if is_folder(root):
        return
    near = ""
    if is_local(root):
        held = content(root.parent) if root.parent.is_dir() else "no such folder"
        near = f" {root.parent} holds {held}."
    raise FileNotFoundError(f"There is no file or folder {root}.{near} Name one that is there.")


def _is_glob(text: str, root: Place) -> bool:
    if is_local(root):
        return glob.has_magic(text) and not os.path.lexists(root)
    return "*" in text if is_web(root) else glob.has_magic(text)


def _matching(text: str, root: Place) -> list[tuple[Place, str]]:
    """What a glob matches, and the path of it below what goes before the first magic part."""
    if is_local(root):
        matched = [(path, path) for path in glob.glob(str(root), recursive=True)]
        pattern = str(root)
    else:
        with named(root):
            matched = [(path, root.fs.unstrip_protocol(path)) for path in root.fs.glob(root.path)]
        pattern = root.path
    fixed = pattern[: re.search(r"[*?\[]", pattern).start()].rpartition("/")[0]
    below = [(place(url), path[len(fixed) :].strip("/")) for path, url in sorted(matched)]
    return [(path, name) for path, name in below if not _hidden(name)]


def _hidden(name: str) -> bool:
    """Whether it is hidden, which fsspec's globs do not mind, or a part of a zarr store."""
    return any(part.startswith(".") for part in name.split("/")) or ".zarr/" in name.lower()


def _of(path: Place, name: str) -> list[tuple[Place, str]]:
    """The images at a place that is called `name`: itself, or those in the folder."""
    if _is_image(path):
        return [(path, name)]
    if not is_folder(path):
        return []
    return list(_inside(path, f"{name}/" if name else "", (_true(path),)))


def _inside(folder: Place, prefix: str, above: tuple[str, ...]) -> Iterator[tuple[Place, str]]:
    """The images in a folder and below it; `above` are the folders around, by their true paths."""
    listed = entries(folder)
    folders = {entry.name for entry in listed if entry.is_folder}
    for entry in listed:
        name = prefix + entry.name
        if _is_image(entry.path, entry.is_folder):
            yield entry.path, name
        elif entry.is_folder and not (entry.name in _ANNOTATIONS and "images" in folders):
            # Of a data set its images: under the names that its masks have, too.
            pair = entry.name == "images" and not folders.isdisjoint(_ANNOTATIONS)
            if _true(entry.path) not in above:  # a link may lead back up
                below = prefix if pair else f"{name}/"
                yield from _inside(entry.path, below, (*above, _true(entry.path)))


def _true(folder: Place) -> str:
    return os.path.realpath(folder) if is_local(folder) else str(folder)


def _is_image(path: Place, folder: bool | None = None) -> bool:
    """Whether a place is an image by its name, or a zarr store."""
    name = file_name(path).lower()
    if name.endswith(STORE_SUFFIXES):
        return True
    if folder is None:
        folder = is_folder(path) if is_local(path) or not name.endswith(IMAGE_SUFFIXES) else False
    return is_store(path) if folder else name.endswith(IMAGE_SUFFIXES)


def _named(found: list[tuple[Place, str]]) -> list[Input]:
    """Leaves out the endings, where names then still differ."""
    stems = Counter(_stem(name) for _, name in found)
    inputs = [Input(p, _stem(name) if stems[_stem(name)] == 1 else name) for p, name in found]
    inputs.sort(key=lambda each: each.name)
    for one, other in zip(inputs, inputs[1:]):
        if one.name == other.name:
            raise ValueError(
                f"{one.path} and {other.path} would give outputs of one name. Received: {one.name} "
                "twice. Name a folder above both, or predict them one after the other."
            )
    return inputs


def _stem(name: str) -> str:
    ending = next((e for e in _ENDINGS if name.lower().endswith(e)), None)
    stem = name[: -len(ending)] if ending else os.path.splitext(name)[0]
    return stem if stem and not stem.endswith("/") else name
