"""The ways to write an image of a folder data set in a table."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Collection, Mapping, Sequence

from segkit.data.layout import Pair
from segkit.data.manifest.table import shortened
from segkit.data.places import Place, composed


class Names:
    """Finds the file that a text means: STEM or FILE, behind SPLIT/, images/ or SPLIT/images/.

    Args:
        pairs: the images of each split; the split "" lies in the root itself.
    """

    def __init__(self, pairs: Mapping[str, Sequence[Pair]]):
        self._splits: dict[str, dict[str, tuple[Pair, ...]]] = {}
        for split, found in pairs.items():
            known = self._splits[split] = {}
            for pair in found:
                alone = (pair,)  # of tuples, as a million of lists takes its time
                stem, file = composed(pair.name), composed(pair.image.name)
                known[stem] = known.get(stem, ()) + alone
                if file != stem:
                    known[file] = known.get(file, ()) + alone

    def find(self, text: str) -> Place:
        """The image file that is meant.

        Raises:
            ValueError: saying what to write, if there is none or there are several.
        """
        found = self._meant(composed(text))
        if not found and "\\" in text:
            found = self._meant(composed(text.replace("\\", "/")))  # a path made by Windows
        if len(found) == 1:
            return found[0][1].image
        if found:
            raise ValueError(self._several(text, found))
        parts = text.replace("\\", "/").split("/")
        outside = ".." in parts or "://" in text or text[1:2] == ":"
        if outside or (text and parts[0] in ("", "~")):
            raise ValueError(
                f"{shortened(text)} is an absolute path or one with '..', and may lead out of the "
                f"data set. Give the stem or the file name: {PurePosixPath(parts[-1]).stem!r}."
            )
        example = next((name for known in self._splits.values() for name in known), None)
        raise ValueError(
            f"there is no image {shortened(text)}. Give the stem or the file name"
            + (f", for example {example!r}." if example else "; there are no images here.")
        )

    def _meant(self, text: str) -> list[tuple[str, Pair]]:
        before, _, name = text.rpartition("/")
        splits = self._split_in(before) if before or name != text else self._splits
        return [(split, pair) for split in splits for pair in self._splits[split].get(name, ())]

    def _split_in(self, before: str) -> Collection[str]:
        """The splits that are meant by what stands in front of a name; none if it is no such."""
        parts = [part for part in before.split("/") if part != "."]
        if parts[-1:] == ["images"]:
            parts.pop()
        if not parts:
            return self._splits
        return parts if len(parts) == 1 and parts[0] and parts[0] in self._splits else ()

    def _several(self, text: str, found: Sequence[tuple[str, Pair]]) -> str:
        files = ", ".join(str(pair.image) for _, pair in found)
        (split, pair), others = found[0], {split for split, _ in found}
        way = f"Write the split in front: {split}/{pair.name}."
        if len(others) < len(found):
            way = "Write the stem or the file name, whichever only one of them has."
        return f"{shortened(text)} may be any of {files}. {way}"
