"""Classes that exclude each other, or not: what a user says over what classes.json says."""

from __future__ import annotations

from segkit.labels import LabelSpace

# Of one entry a class in the description of a label space.
_PER_CLASS = ("names", "palette")


def with_exclusive(
    labels: LabelSpace, exclusive: bool | None, origin: str = "classes.json"
) -> LabelSpace:
    """A label space whose classes exclude each other (True), are independent (False), or as it is.

    Independent classes have no background, each is there or not: it is left out of the names.

    Args:
        labels: as somebody described them.
        exclusive: None leaves them alone.
        origin: where that stands, for errors.

    Raises:
        ValueError: if `exclusive` is none of these, or they cannot be independent.
    """
    require_flag(exclusive)
    if exclusive is None or exclusive == labels.exclusive:
        return labels
    description = labels.to_dict() | {"exclusive": exclusive}
    if not exclusive:
        if labels.coarse:
            names = ", ".join(entry.name for entry in labels.coarse)
            raise ValueError(
                f"{origin}: coarse labels are ids in a mask, and independent classes have planes. "
                f"Received: labels.exclusive=false with {names}. Take them out of coarse."
            )
        for key in _PER_CLASS:
            if labels.background is not None and description.get(key) is not None:
                entries = enumerate(description[key])
                description[key] = [entry for c, entry in entries if c != labels.background]
        description |= {"background": None, "num_classes": len(description["names"])}
    return LabelSpace.from_dict(description, f"{origin}, with labels.exclusive={_said(exclusive)}")


def require_flag(exclusive: bool | None) -> None:
    """Refuses a value of `exclusive` that is neither true, false nor null.

    Raises:
        ValueError: naming it.
    """
    if exclusive is not None and not isinstance(exclusive, bool):
        raise ValueError(
            "labels.exclusive must be true, false (classes may overlap), or null (as the data set "
            f"says). Received: {exclusive!r}."
        )


def _said(exclusive: bool) -> str:
    return "true" if exclusive else "false"
