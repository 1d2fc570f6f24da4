"""Transforms of albumentations: which of them may be used, and what is set on them for masks."""

from __future__ import annotations

import copy
import os
import traceback
from typing import Any, Iterable, Iterator, Mapping

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it asks the network on import otherwise

import albumentations  # noqa: E402

Transform = albumentations.BasicTransform | albumentations.BaseCompose

_SCALING = "images stay as they are, scaling to [0, 1] and normalization come later"
_BOXES = "it needs boxes, and there are only an image and its mask"
REFUSED = {  # for what they do to images or masks, or need besides
    "AtLeastOneBBoxRandomCrop": _BOXES,
    "BBoxSafeRandomCrop": _BOXES,
    "Lambda": "a function of its own may do anything to a mask; give a class of transforms",
    "Morphological": "it lets the higher of two ids win, as if masks were pictures",
    "FromFloat": _SCALING,
    "Normalize": _SCALING,
    "ToFloat": _SCALING,
}
_GUIDED = ("ConstrainedCoarseDropout", "CropNonEmptyMaskIfExists")  # which do not say so


class Dihedral(albumentations.D4):
    """One of the eight symmetries of a square; where height and width differ, of the rectangle.

    `albumentations.D4` turns images that are not square on their side, and a batch cannot hold
    both. Their four are: as it is, both flips, and the half turn.

    Args:
        p: probability of drawing at all; the image as it is, is one of those drawn.
    """

    def get_params_dependent_on_data(
        self, params: dict[str, Any], data: dict[str, Any]
    ) -> dict[str, Any]:
        """The symmetry for an image of this shape."""
        height, width = params["shape"][:2]
        if height == width:
            return {}
        return {"group_element": self.random_generator.choice(["e", "h", "v", "r180"])}


def prepared(transforms: Iterable[Transform] | Mapping[str, Transform]) -> list[Transform]:
    """Copies of the transforms that treat masks as ids.

    Wherever a transform puts a number of its own into a mask, it is 0. Sizes change by the nearest
    pixel. The interpolation of warps is left to `albumentations.Compose`.

    Args:
        transforms: in their order; the names of a mapping are for the config only.

    Raises:
        TypeError: if one of the transforms is something else.
        ValueError: if a transform was given an argument that it does not know, or is `REFUSED`, or
            needs more than an image and its mask.
    """
    if not isinstance(transforms, (Mapping, Iterable)) or isinstance(transforms, str):
        raise TypeError(f"transforms must be a list or a mapping. Received: {transforms!r}.")
    values = transforms.values() if isinstance(transforms, Mapping) else transforms
    copies = copy.deepcopy(list(values))
    for transform in leaves(copies):
        if getattr(transform, "fill_mask", None) is not None:
            transform.fill_mask = 0
        if getattr(transform, "area_for_downscale", None) == "image_mask":
            transform.area_for_downscale = "image"  # means of ids are no ids
    return copies


def leaves(transforms: Iterable[Any]) -> Iterator[albumentations.BasicTransform]:
    """The transforms inside of any OneOf, SomeOf, Sequential; see `prepared` for what it raises."""
    for transform in transforms:
        if isinstance(transform, albumentations.BaseCompose):
            yield from leaves(transform.transforms)
        elif not isinstance(transform, albumentations.BasicTransform):
            raise TypeError(
                "Augmentation takes transforms of albumentations. "
                f"Received: {transform!r}. In a configuration each one needs a _target_, "
                "for example {_target_: albumentations.HorizontalFlip, p: 0.5}."
            )
        else:
            _check(transform)
            yield transform


def look_at_masks(transforms: Iterable[Any]) -> bool:
    """Whether any of them chooses by the ids in the mask, as CropNonEmptyMaskIfExists does."""
    return any(
        "mask" in transform.targets_as_params or type(transform).__name__ in _GUIDED
        for transform in leaves(transforms)
    )


def at_fault(error: BaseException) -> str:
    """The class of the innermost transform that an exception came out of."""
    name = "A transform"
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if isinstance(frame.f_locals.get("self"), albumentations.BasicTransform):
            name = type(frame.f_locals["self"]).__name__
    return name


def _check(transform: albumentations.BasicTransform) -> None:
    name = type(transform).__name__
    if transform.invalid_args:
        # albumentations only warns, and goes on without them.
        raise ValueError(
            f"{name} has no argument {', '.join(transform.invalid_args)}. "
            f"It has: {', '.join(transform.get_transform_init_args_names())}."
        )
    reasons = [
        REFUSED[kind.__name__] for kind in type(transform).__mro__ if kind.__name__ in REFUSED
    ]
    if getattr(transform, "mask_drop_value", None) is not None:
        reasons.append("with mask_drop_value it drops other pixels of the mask than of the image")
    needs = sorted({*transform.targets_as_params} - {"image", "mask"})
    if "image" not in transform.targets:
        reasons.append("it is for volumes")
    if needs:
        reasons.append(f"it needs {', '.join(needs)}, and there are only an image and its mask")
    if reasons:
        raise ValueError(f"{name} cannot augment here: {reasons[0]}. Leave it out.")
