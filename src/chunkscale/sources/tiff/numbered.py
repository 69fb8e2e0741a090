"""What names of files say of the axis along which they are numbered."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

#: Words in front of a number, and the axis that it counts along; "" for those that are more
#: than one axis to people.
_WORDS = {
    **dict.fromkeys(("z", "slice", "slices", "plane", "planes", "section", "depth"), "z"),
    **dict.fromkeys(("t", "tp", "time", "times", "timepoint", "timepoints"), "t"),
    **dict.fromkeys(("c", "ch", "chan", "channel", "channels"), "c"),
    **dict.fromkeys(("frame", "frames", "w", "p", "pos", "position", "series", "scene"), ""),
    **dict.fromkeys(("tile", "tiles", "field", "fov", "well", "xy"), ""),
}


def differing(files: Sequence[str]) -> list[int]:
    """Return which parts of the names differ, of those that `parts` makes; numbers by value."""
    names = [parts(path) for path in files]
    return [i for i in range(len(names[0])) if len({_value(name[i]) for name in names}) > 1]


def parts(path: str) -> list[str]:
    """Return the name of a file in parts: texts and numbers in turn."""
    return re.split(r"(\d+)", os.path.basename(path))


def _value(text: str) -> object:
    return int(text) if text.isdecimal() else text


def counted_word(files: Sequence[str]) -> str:
    """Return the word in front of the number in which names of files differ.

    Examples
    --------
    >>> counted_word(["a_t01_z1.tif", "a_t02_z1.tif"]), counted_word(["1.tif", "2.tif"])
    ('t', '')
    >>> counted_word(["cellsT1.tif", "cellsT2.tif"]), counted_word(["plot1.tif", "plot2.tif"])
    ('T', 'plot')
    """
    before = parts(files[0])[differing(files)[0] - 1]
    # A capital begins a word: cellsT01.
    found = re.search(r"([A-Z]?[a-z]+|[A-Z]+)[^A-Za-z]*$", before)
    return found[1] if found else ""


def counted_axis(word: str) -> str | None:
    """Return the axis that a word says; "" if it may be several, None if it says none."""
    return _WORDS.get(word.lower())
