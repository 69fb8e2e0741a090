"""From the axes of a TIFF file to those of an image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from chunkscale.errors import OptionError, UnstatedError

#: The axes of an image, in their order.
CANONICAL = "tczyx"

#: What tifffile calls axes that are those of an image.
_KNOWN = {"T": "t", "C": "c", "S": "c", "Z": "z", "Y": "y", "X": "x"}


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAxes:
    """The axes of pages and those along which pages follow one another.

    Parameters
    ----------
    leading : str
        Letters of the axes along which pages follow one another, slowest first.
    counts : tuple of int
        Their lengths.
    page : tuple of int
        Shape of a page: separate samples, z, rows, columns, samples beside one another.
    plane : str
        Letters of rows and columns.
    """

    leading: str
    counts: tuple[int, ...]
    page: tuple[int, ...]
    plane: str = "YX"

    @property
    def samples(self) -> int:
        """Samples of a voxel."""
        return self.page[0] * self.page[4]

    @property
    def letters(self) -> str:
        """All axes longer than one voxel, rows and columns; samples in their place."""
        planar, depth, contiguous = (self.page[i] > 1 for i in (0, 1, 4))
        return self.leading + "S" * planar + "Z" * depth + self.plane + "S" * contiguous

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes of `letters`."""
        planar, depth, length, width, contiguous = self.page
        kept = [n for n in (planar, depth) if n > 1]
        return (*self.counts, *kept, length, width, *([contiguous] if contiguous > 1 else []))


@dataclass(frozen=True, slots=True, kw_only=True)
class AxisOrder:
    """How the axes of an image are made of those that are stored.

    Parameters
    ----------
    names : str
        Axes of the image.
    shape : tuple of int
    frames : tuple of int
        By axis: how many pages it is to the next index; 0 for axes within a page.
    roles : tuple of int or None
        By axis: which axis of `StoredAxes.page` it is (1 for z, 2 for y, 3 for x).
    samples : int
        Samples of a voxel, which are the faster part of the axis c.
    """

    names: str
    shape: tuple[int, ...]
    frames: tuple[int, ...]
    roles: tuple[int | None, ...]
    samples: int


def axis_order(stored: StoredAxes, names: Sequence[str]) -> AxisOrder:
    """Return how an image is made whose stored axes are called `names`, in canonical order.

    Examples
    --------
    >>> stored = StoredAxes(leading="TZ", counts=(3, 5), page=(1, 1, 7, 9, 2))
    >>> order = axis_order(stored, ["t", "z", "y", "x", "c"])
    >>> order.names, order.shape, order.frames
    ('tczyx', (3, 2, 5, 7, 9), (5, 0, 1, 0, 0))
    """
    rows = len(stored.letters) - 2 - (stored.page[4] > 1)
    roles = {rows - 1: 1, rows: 2, rows + 1: 3}
    made: dict[str, tuple[int, int, int | None]] = {}
    samples = 1
    for i, (letter, name, n) in enumerate(zip(stored.letters, names, stored.shape, strict=True)):
        length, step, role = made.get(name, (1, 0, None))
        if i < len(stored.leading):
            step = math.prod(stored.counts[i + 1 :])
        elif letter == "S":
            samples = n
        else:
            role = roles[i]
        made[name] = (length * n, step, role)
    ordered = [name for name in CANONICAL if name in made]
    return AxisOrder(
        names="".join(ordered),
        shape=tuple(made[name][0] for name in ordered),
        frames=tuple(made[name][1] for name in ordered),
        roles=tuple(made[name][2] for name in ordered),
        samples=samples,
    )


def axis_names(stored: StoredAxes, asked: Sequence[str] | None, uri: str) -> list[str]:
    """Return what the stored axes are called; see `axis_order`.

    Parameters
    ----------
    stored : StoredAxes
    asked : sequence of str, optional
        Names in order (``"zyx"``), or with the letters that they stand for (``"QYX=zyx"``).
    uri : str

    Raises
    ------
    OptionError
        If they do not fit, or the file does not say which axes it has and nobody else does.
    """
    letters, sizes = stored.letters, " x ".join(map(str, stored.shape))
    has = f"{uri!r} has the axes {letters} ({sizes})"
    if asked is None:
        unknown = sorted({letter for letter in letters if letter not in _KNOWN})
        names = [_KNOWN.get(letter, "?") for letter in letters]
        if unknown or not _are_axes(stored, names):
            example = _example(letters, unknown or sorted(set(letters) - {"S"}))
            why = (
                f"and does not say what {', '.join(unknown)} stands for"
                if unknown
                else "which are not those of an image"
            )
            raise UnstatedError(
                f"{has}, {why}; give axes={example!r} (--source-axes {example}) if these are its "
                f"axes in this order, each one of {', '.join(CANONICAL)}",
                axes=example,
                stated="".join(_KNOWN.get(letter, letter) for letter in letters),
            )
        return names
    text = "".join(asked)
    given, mark, spelled = text.partition("=")
    names = list((spelled if mark else given).lower())
    if mark and given.upper() != letters:
        raise OptionError(
            f"axes={text!r} (--source-axes {text}) is for a file with the axes {given.upper()}, "
            f"and {has}; give them like {letters}={''.join(_guess(letters))}"
        )
    if letters.endswith("S") and len(names) == len(letters) - 1:
        names.append("c")  # samples are not thought of as an axis
    if len(names) != len(letters) or not _are_axes(stored, names):
        apart = "; its samples (S) are channels, so c cannot be another axis" * ("S" in letters)
        raise OptionError(
            f"axes={text!r} (--source-axes {text}) does not fit: {has}; give one of "
            f"{', '.join(CANONICAL)} for each of them, y and x among them{apart}"
        )
    return names


def _example(letters: str, unclear: Sequence[str]) -> str:
    """Return names for axes, of which the unclear ones get what the others leave.

    Examples
    --------
    >>> _example("QQYX", ["Q"]), _example("QQSYX", ["Q"])
    ('czyx', 'tzcyx')
    """
    taken = {_KNOWN[letter] for letter in letters if letter not in unclear}
    free = [name for name in CANONICAL if name not in taken]
    count = sum(letter in unclear for letter in letters)
    names = iter(free[-count:] if count <= len(free) else "?" * count)
    return "".join(next(names) if letter in unclear else _KNOWN[letter] for letter in letters)


def _guess(letters: str) -> list[str]:
    return [_KNOWN.get(letter, "z") for letter in letters]


def _are_axes(stored: StoredAxes, names: list[str]) -> bool:
    """Whether each name is an axis of an image, none is there twice, and y and x are there.

    Samples share c with what the file itself calls channels, and with nothing else.
    """
    plain = [name for name, letter in zip(names, stored.letters, strict=True) if letter != "S"]
    samples = [name for name, letter in zip(names, stored.letters, strict=True) if letter == "S"]
    channels = {letter for name, letter in zip(names, stored.letters, strict=True) if name == "c"}
    return (
        set(names) <= set(CANONICAL)
        and len(set(plain)) == len(plain)
        and {"y", "x"} <= set(plain)
        and all(name == "c" for name in samples)
        and (not samples or channels <= {"S", "C"})
    )
