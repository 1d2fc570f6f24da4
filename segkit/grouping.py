"""Which images belong together: groups, such as patients, and data sets that were joined."""

from __future__ import annotations

from collections import Counter

from segkit.contract import Source, innermost

CHOICES = ("auto", "group", "source", "none")


def groups_of(source: Source) -> list[str]:
    """The group of each image, such as its patient; "" where there is none."""
    groups = list(getattr(innermost(source), "groups", []) or [])
    return groups if len(groups) == len(source) else [""] * len(source)


def origins_of(source: Source) -> list[str]:
    """The data set that each image of joined ones comes from; "" where nothing was joined."""
    inner = innermost(source)
    if hasattr(inner, "origin"):
        return [inner.origin(index) for index in range(len(source))]
    return list(getattr(inner, "origins", [])) or [""] * len(source)


def repeated_groups(source: Source) -> list[str]:
    """The group of each image, "" for all if no group has two images."""
    groups = groups_of(source)
    several = any(name and count > 1 for name, count in Counter(groups).items())
    return groups if several else [""] * len(groups)


def units(choice: str, groups: list[str], origins: list[str]) -> tuple[str, list[str]]:
    """What is resampled as a whole, and which one each image belongs to.

    Args:
        choice: none: images; group; source: data sets that were joined; auto: groups where there
            are any, else images.
        groups, origins: of each image, (N,); "" for none, which is then one of its own.

    Returns:
        "image", "group" or "source", and one text an image.

    Raises:
        ValueError: if there is no such choice, or no image has such a thing.
    """
    if choice not in CHOICES:
        raise ValueError(f"groups must be one of {', '.join(CHOICES)}. Received: {choice!r}.")
    ways = {
        "group": "data.split.group or the column group of annotations.csv",
        "source": "data=joined",
    }
    if choice == "auto":
        choice = "group" if any(groups) else "none"
    alone = [f"\n{index}" for index in range(len(groups))]  # the name of no group
    if choice == "none":
        return "image", alone
    owners = groups if choice == "group" else origins
    if not any(owners):
        raise ValueError(
            f"groups={choice} needs a {choice} of two or more images. Received: data without. "
            f"{ways[choice]} names them; groups=none resamples single images."
        )
    return choice, [owner or lone for owner, lone in zip(owners, alone)]
