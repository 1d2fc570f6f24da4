"""Where a folder data set keeps its files: split folders, and pairs of an image and its mask."""

from __future__ import annotations

from typing import Mapping, NamedTuple

from segkit.data.class_folders import class_files
from segkit.data.listing import by_stem, common_ending, content, entries, few
from segkit.data.places import Place, is_folder
from segkit.data.problems import Problem
from segkit.data.readers import IMAGE_SUFFIXES, MASK_SUFFIXES
from segkit.labels import LabelSpace

SPLITS = ("train", "val", "test")
_LOOK_LIKE_SPLITS = (*SPLITS, "dev", "eval")  # valid/, Train/, testing/: not to be passed over


class Pair(NamedTuple):
    """One image of a folder data set.

    name: its stem, in Unicode's composed form.
    image: the file.
    mask: the file, or {class name: file} where each class has one of its own.
    truth: the file of the full mask, if there is one.
    split: the folder train, val or test it lies in; "" where there are none.
    """

    name: str
    image: Place
    mask: Place | Mapping[str, Place]
    truth: Place | None = None
    split: str = ""


def find_splits(root: Place) -> dict[str, Place]:
    """The folders that hold `images/`: {"train": ..., ...}, or {"": root} if root itself does.

    Raises:
        FileNotFoundError: if there is no root, or nothing of the kind in it.
        ValueError: if root is both a split and a parent of splits, or a split has another name.
    """
    if not is_folder(root):
        raise FileNotFoundError(f"There is no folder {root}. It should hold a data set.")
    folders = {entry.name: entry.path for entry in entries(root) if entry.is_folder}
    parents = {name for name, path in folders.items() if is_folder(path / "images")}
    splits = {name: folders[name] for name in SPLITS if name in folders}
    strange = [n for n in parents - set(SPLITS) if n.lower().startswith(_LOOK_LIKE_SPLITS)]
    if strange:
        raise ValueError(
            f"{root} holds folders with images that would be passed over: {few(strange)}. "
            f"Name them {', '.join(SPLITS)}, or move them elsewhere."
        )
    if splits and "images" in folders:
        raise ValueError(
            f"{root} holds images/ and the splits {', '.join(splits)}: which of them is meant? "
            "Keep one of the two."
        )
    if not splits and "images" not in folders:
        raise FileNotFoundError(
            f"{root} holds no data set: expected train/ (val/, test/) with images/ and masks/ "
            f"inside, or images/ and masks/ themselves. Received: {content(root)}."
        )
    return splits or {"": root}


def count_images(root: Place) -> int:
    """The number of images of a folder data set, whether they can be used or not.

    Args:
        root: the data set's folder; 0 if it is none.
    """
    try:
        folders = find_splits(root).values()
        return sum(len(by_stem(path / "images", IMAGE_SUFFIXES, [])) for path in folders)
    except (OSError, ValueError):
        return 0


def find_pairs(
    directory: Place, split: str, labels: LabelSpace, problems: list[Problem]
) -> list[Pair]:
    """The images of one split that have a mask, in the order of their stems.

    Only names are looked at; no file is opened. Masks are `masks/STEM.*`, or one binary file a
    class: `masks/CLASS/STEM.*` or `masks/STEM/CLASS.*`. An image with no file of its own in there
    is then one in which nobody looked for anything.

    Args:
        directory: holds `images/`, `masks/` and perhaps `truth/`.
        split: what to call it in the pairs.
        labels: the classes that folders or files may be named after.
        problems: receives what is wrong.
    """
    images = by_stem(directory / "images", IMAGE_SUFFIXES, problems)
    folder = directory / "masks"
    inside = entries(folder) if is_folder(folder) else []
    if any(entry.is_folder for entry in inside):
        known = len(problems)
        masks = class_files(folder, inside, images, labels, problems)
        _name_lonely(masks, images, "mask", "image", directory, problems)
        said = len(problems) > known  # and then the files of an image may be what cannot be used
        for stem in images.keys() - masks.keys():
            masks[stem] = {}
            if not said:
                text = f"{images[stem]} has no file in {folder}: nothing counts as annotated in it."
                problem = Problem("image without mask", str(images[stem]), text, fatal=False)
                problems.append(problem)
    else:
        masks = by_stem(folder, MASK_SUFFIXES, problems)
        masks = _without_endings(masks, images, folder, problems)
        _name_lonely(masks, images, "mask", "image", directory, problems)
        _name_lonely(images, masks, "image", "mask", directory, problems)
    truths: Mapping[str, Place] = {}
    if is_folder(directory / "truth"):
        truths = by_stem(directory / "truth", MASK_SUFFIXES, problems)
        _name_lonely(truths, images, "truth", "image", directory, problems)
    both = sorted(images.keys() & masks.keys())
    return [Pair(s, images[s], masks[s], truths.get(s), split) for s in both]


def _without_endings(
    masks: dict[str, Place], images: Mapping[str, Place], folder: Place, problems: list[Problem]
) -> dict[str, Place]:
    """The masks by the stem of their images, where one of the two has an ending, which is said."""
    if masks.keys() & images.keys():
        return masks
    ending = common_ending(masks, images)
    if ending:
        what, there, other = "masks", folder, "images"
        masks = {stem.removesuffix(ending): path for stem, path in masks.items()}
    else:
        ending = common_ending(images, masks)
        what, there, other = "images", folder.parent / "images", "masks"
        masks = {stem + ending: path for stem, path in masks.items()} if ending else masks
    if ending:
        text = (
            f"The {what} in {there} end in {ending!r}: rename them to the stems of the {other}, "
            "by cutting it off. Stems must be equal: images/case_001.jpg, masks/case_001.png."
        )
        problems.append(Problem("stems that differ", str(there), text))
    return masks


def _name_lonely(
    these: Mapping[str, Place | Mapping],
    those: Mapping[str, Place | Mapping],
    what: str,
    partner: str,
    directory: Place,
    problems: list[Problem],
) -> None:
    if not those:  # their folder is missing or empty, which was said
        return
    for stem in sorted(these.keys() - those.keys()):
        file = these[stem]
        path = next(iter(file.values())) if isinstance(file, Mapping) else file
        text = (
            f"{path} needs an {partner} of the same stem in {directory / (partner + 's')}. "
            f"Add it, or remove the {what}."
        ).replace("an mask", "a mask")
        problems.append(Problem(f"{what} without {partner}", str(path), text))
