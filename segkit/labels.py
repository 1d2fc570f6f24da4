"""The label space: which classes there are, and how masks on disk name them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Mapping, Sequence

from segkit.coarse import MAX_ID, CoarseLabel, check_id, coarse_label
from segkit.ordered import Bins, check_order, checked_bins, checked_values, named_bins
from segkit.palette import Color, Palette, checked, checked_color
from segkit.spelling import require_spelling

_ORDER = ("values", "unit", "bins")  # of ordered classes alone
_OPTIONS = ("background", "ignore_index", "exclusive", "palette", "coarse", "ignore_color", *_ORDER)


@dataclass(frozen=True)
class LabelSpace:
    """Class names in the order of their ids, and the ids that are not classes.

    Args:
        names: class names; the position is the id in the mask and the channel of the target.
        background: id of the class that stands for "whatever nobody outlined", or None where
            every pixel was given a class of its own.
        ignore_index: id of pixels nobody judged, or None if there are none.
        exclusive: True if a pixel has one class (softmax); False for classes that may overlap
            (masks are then planes, one a class).
        palette: one (red, green, blue) in 0-255 a class; drawn from the colour circle if None, of
            ordered classes from dark to bright.
        coarse: labels that stand for several classes; a `CoarseLabel`, or a mapping with its
            three keys.
        ignore_color: (red, green, blue) of ignored pixels in masks that hold colours, or None.
        values: of ordered classes what each stands for, ascending: grades, depths; or None.
        unit: what the values are in, free text.
        bins: where masks hold scores: how they are cut into classes (the edges, or what else
            `segkit.ordered.bins` takes). Without values, the centres are the values.

    Raises:
        ValueError: naming what does not fit together.
    """

    names: tuple[str, ...]
    background: int | None = 0
    ignore_index: int | None = 255
    exclusive: bool = True
    palette: Palette | None = None
    coarse: tuple[CoarseLabel, ...] = ()
    ignore_color: Color | None = None
    values: tuple[float, ...] | None = None
    unit: str | None = None
    bins: Bins | None = None

    def __init__(
        self,
        names: Sequence[str],
        background: int | None = 0,
        ignore_index: int | None = 255,
        exclusive: bool = True,
        palette: Sequence[Sequence[int]] | None = None,
        coarse: Sequence[CoarseLabel | Mapping[str, Any]] = (),
        ignore_color: Sequence[int] | None = None,
        values: Sequence[float] | None = None,
        unit: str | None = None,
        bins: Any = None,
    ):
        if not isinstance(names, (list, tuple)):
            raise ValueError(f"names must be a list of class names. Received: {names!r}.")
        if not isinstance(exclusive, bool):
            raise ValueError(f"exclusive must be true or false. Received: {exclusive!r}.")
        cut = checked_bins(bins)
        values = checked_values(values, cut, len(names), background, exclusive)
        fields = {
            "names": tuple(names),
            "background": background,
            "ignore_index": ignore_index,
            "exclusive": exclusive,
            "palette": checked(palette, len(names), background, values is not None),
            "coarse": tuple(coarse_label(entry) for entry in coarse),
            "ignore_color": checked_color("ignore_color", ignore_color),
            "values": values,
            "unit": unit,
            "bins": cut,
        }
        for field, value in fields.items():
            object.__setattr__(self, field, value)
        self._check()

    @property
    def num_classes(self) -> int:
        """C: the number of classes, background included."""
        return len(self.names)

    @property
    def foreground(self) -> tuple[int, ...]:
        """The ids of all classes but the background."""
        return tuple(c for c in range(self.num_classes) if c != self.background)

    def index(self, name: str) -> int:
        """The id of a class; a ValueError that lists the classes if there is none so named."""
        try:
            return self.names.index(name)
        except ValueError:
            raise ValueError(
                f"There is no class {name!r}. The classes are: {', '.join(self.names)}."
            ) from None

    def to_dict(self) -> dict[str, Any]:
        """What `classes.json` and `labels.json` hold; what orders classes, where they are."""
        found = {"values": self.values and list(self.values), "unit": self.unit}
        found["bins"] = self.bins and self.bins.to_dict()
        return {
            "num_classes": self.num_classes,
            "names": list(self.names),
            "background": self.background,
            "ignore_index": self.ignore_index,
            "exclusive": self.exclusive,
            "palette": [list(color) for color in self.palette],
            "coarse": [
                {"name": entry.name, "id": entry.id, "members": list(entry.members)}
                for entry in self.coarse
            ],
            "ignore_color": None if self.ignore_color is None else list(self.ignore_color),
            **{key: value for key, value in found.items() if value is not None},
        }

    @classmethod
    def from_dict(cls, description: Mapping[str, Any], origin: str = "classes.json") -> LabelSpace:
        """A label space from the content of a `classes.json`; keys of other tools are left alone.

        Raises:
            ValueError: naming `origin` if `names` is missing or something does not fit.
        """
        description = named_bins(description, origin)
        if not isinstance(description, Mapping) or "names" not in description:
            raise ValueError(f"{origin} needs an object with the key 'names', a list of classes.")
        names = description["names"]
        if not isinstance(names, (list, tuple)):
            raise ValueError(f"{origin}: names must be a list of class names. Received: {names!r}.")
        require_spelling(description, ("names", *_OPTIONS), origin)
        if description.get("num_classes", len(names)) != len(names):
            raise ValueError(
                f"{origin}: num_classes is {description['num_classes']}, "
                f"but {len(names)} names are listed."
            )
        if "background" not in description and description.get("exclusive", True):
            raise ValueError(
                f"{origin} must say which id is the background, what nobody outlined: "
                '"background": 0, or null where every pixel was given a class of its own.'
            )
        options = {"background": None} | {k: description[k] for k in _OPTIONS if k in description}
        palette = options.get("palette")
        if isinstance(palette, (list, tuple)):
            # Some tools add the colour of the ignored pixels behind those of the classes.
            options["palette"], extra = palette[: len(names)], palette[len(names) :]
            if len(extra) == 1 and options.get("ignore_index", 255) is not None:
                options.setdefault("ignore_color", extra[0])
        try:
            return cls(names, **options)
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{origin}: {error}") from error

    @classmethod
    def from_json(cls, path: str | Path) -> LabelSpace:
        """Reads a `classes.json`; `path` may be a `upath.UPath`, too.

        Raises:
            FileNotFoundError: if it is not there. ValueError: if it is not such a file.
        """
        path = Path(path) if isinstance(path, str) else path
        try:
            description = json.loads(path.read_text(encoding="utf-8-sig"))
        except FileNotFoundError:
            raise FileNotFoundError(
                f"There is no {path}. It lists the classes, for example "
                '{"names": ["background", "cell"], "background": 0, "ignore_index": 255}.'
            ) from None
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} is not valid JSON: {error}.") from error
        return cls.from_dict(description, origin=str(path))

    def to_json(self, path: str | Path) -> None:
        """Writes a `classes.json`."""
        Path(path).write_text(json.dumps(self.to_dict(), indent=1) + "\n", encoding="utf-8")

    def _check(self) -> None:
        names, count = self.names, self.num_classes
        if not 1 <= count <= MAX_ID or not all(isinstance(n, str) and n for n in names):
            raise ValueError(f"names must be non-empty strings, one a class. Received: {names!r}.")
        if self.exclusive and count < 2:
            raise ValueError(
                f"Classes that exclude each other are at least two. Received: {names!r}. "
                "Add the background to the names."
            )
        odd = [n for n in names if n != n.strip() or n == "*" or ";" in n or min(n) < " "]
        if odd:
            raise ValueError(
                "Class names may not hold ; or line breaks, begin or end with spaces, or be * "
                f"(annotations.csv could not name them). Received: {odd!r}."
            )
        if len(set(names)) < count:
            twice = sorted({n for n in names if names.count(n) > 1})
            raise ValueError(f"Each class name may stand once. Twice: {', '.join(twice)}.")
        check_id("background", self.background)
        check_id("ignore_index", self.ignore_index)
        self._check_independent()
        if self.background is not None and self.background >= count:
            raise ValueError(
                f"background must be one of the ids 0..{count - 1} or None. "
                f"Received: {self.background!r}."
            )
        if self.exclusive and self.ignore_index is not None and self.ignore_index < count:
            raise ValueError(
                f"ignore_index must not be the id of a class (0..{count - 1}). "
                f"Received: {self.ignore_index}, which is {names[self.ignore_index]!r}."
            )
        if self.ignore_color is not None and self.ignore_index is None:
            received = f"Received: {self.ignore_color}, ignore_index=None. Give an id, such as 255."
            raise ValueError(f"ignore_color is that of pixels with the ignore_index. {received}")
        check_order(self.unit, self.values, self.bins, self.ignore_index, self.coarse)
        self._check_coarse()

    def _check_independent(self) -> None:
        if not self.exclusive and self.background is not None:
            raise ValueError(
                "Independent classes have no background: each is there or not. "
                f"Received: background={self.background}. Pass background=None (null in JSON)."
            )
        index = self.ignore_index
        if not self.exclusive and index is not None and not 2 <= index < 256:
            raise ValueError(
                "Planes of classes are bytes in which 0 and 1 mean absent and there. Received: "
                f"ignore_index={index}. Take one from 2 to 255, or None."
            )

    def _check_coarse(self) -> None:
        names = self.names
        taken = {self.ignore_index, *range(self.num_classes)}
        for entry in self.coarse:
            strangers = set(entry.members) - set(names)
            twice = len(set(entry.members)) < max(len(entry.members), 2)
            if strangers or twice or entry.id in taken or not entry.name or entry.name in names:
                raise ValueError(
                    "A coarse label needs a name and an id of its own and at least two of the "
                    f"classes ({', '.join(names)}) as members. Received: {entry}."
                )
            taken.add(entry.id)
