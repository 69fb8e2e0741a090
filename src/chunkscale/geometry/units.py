"""Lengths and their units, however they are spelled."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from numbers import Real

METRES = {
    "yoctometer": 1e-24,
    "zeptometer": 1e-21,
    "attometer": 1e-18,
    "femtometer": 1e-15,
    "picometer": 1e-12,
    "angstrom": 1e-10,
    "nanometer": 1e-9,
    "micrometer": 1e-6,
    "micron": 1e-6,
    "um": 1e-6,
    "µm": 1e-6,
    "μm": 1e-6,
    "nm": 1e-9,
    "mm": 1e-3,
    "cm": 1e-2,
    "m": 1.0,
    "pm": 1e-12,
    "Å": 1e-10,
    "millimeter": 1e-3,
    "centimeter": 1e-2,
    "decimeter": 1e-1,
    "meter": 1.0,
    "inch": 0.0254,
    "foot": 0.3048,
    "yard": 0.9144,
    "mile": 1609.344,
    "dekameter": 1e1,
    "hectometer": 1e2,
    "kilometer": 1e3,
    "megameter": 1e6,
    "gigameter": 1e9,
    "terameter": 1e12,
    "petameter": 1e15,
    "exameter": 1e18,
    "zettameter": 1e21,
    "yottameter": 1e24,
    "parsec": 3.0856775814913673e16,
}


def metres(unit: str | None) -> float | str | None:
    """Return how long a unit of length is, however it is spelled; any other one as it is."""
    return unit if unit is None else METRES.get(unit, unit)


_LENGTH = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([^\W\d_]*)\s*")


@dataclass(frozen=True, slots=True)
class Length:
    """A number, and the unit behind it, if there is one."""

    value: float
    unit: str = ""

    def in_unit(self, unit: str | None) -> float:
        """Return it in another unit; decimal numbers stay the decimal numbers they are.

        Raises
        ------
        ValueError
            If that is no unit of length.

        Examples
        --------
        >>> Length(500.0, "nm").in_unit("micrometer")
        0.5
        """
        if not self.unit or not math.isfinite(self.value):
            return self.value
        if unit not in METRES:
            raise ValueError(f"it has a unit, but the image has {unit or 'none'}")
        number, ours, theirs = (
            Fraction(repr(x)) for x in (self.value, METRES[self.unit], METRES[unit])
        )
        return float(number * ours / theirs)


def in_one_unit(sizes: Sequence[float], units: Sequence[str | None]) -> list[float]:
    """Return lengths in the unit of the first; as they are, where one has a unit of its own.

    Examples
    --------
    >>> in_one_unit([1.0, 200.0], ["micrometer", "nanometer"]), in_one_unit([1.0], [None])
    ([1.0, 0.2], [1.0])
    """
    if len(set(map(metres, units))) == 1 or not set(units) <= set(METRES):
        return list(sizes)
    return [Length(s, u or "").in_unit(units[0]) for s, u in zip(sizes, units, strict=True)]


def is_finite(value: object) -> bool:
    """Whether a value is a number that arithmetic can hold: JSON has whole numbers of any size.

    Examples
    --------
    >>> is_finite(2), is_finite(10**400), is_finite(float("nan")), is_finite(True), is_finite("2")
    (True, False, False, False, False)
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def parse_length(text: str) -> Length:
    """Return what a text like ``"0.5"`` or ``"500 nm"`` says.

    Raises
    ------
    ValueError
        If it is no number, or its unit is not known.
    """
    found = _LENGTH.fullmatch(text)
    if found is None:
        try:
            return Length(float(text))  # inf and nan are numbers, too
        except ValueError:
            raise ValueError(f"{text!r} is not a number") from None
    if found[2] not in ("", *METRES):
        raise ValueError(f"{found[2]!r} in {text!r} is not a known unit of length")
    return Length(float(found[1]), found[2])


_SECONDS = (
    "nanosecond=ns microsecond=us,µs,μs millisecond=ms,msec second=s,sec minute=min hour=h,hr day=d"
)

_TIMES = {
    spelled: name
    for name, _, others in (pair.partition("=") for pair in _SECONDS.split())
    for spelled in (name, *others.split(","))
}

#: Of the ways to spell a unit of length the longest is that of OME-NGFF.
_LENGTHS = {
    factor: max((n for n in METRES if METRES[n] == factor), key=len) for factor in METRES.values()
}


def ngff_unit(text: str) -> str:
    """Return a unit of length or time as OME-NGFF spells it; any other one as it is.

    Examples
    --------
    >>> ngff_unit("µm"), ngff_unit("micrometers"), ngff_unit("s"), ngff_unit("pixel")
    ('micrometer', 'micrometer', 'second', 'pixel')
    """
    for spelled in (text.strip(), text.strip().removesuffix("s")):
        if spelled in METRES:
            return _LENGTHS[METRES[spelled]]
        if spelled in _TIMES:
            return _TIMES[spelled]
    return text


#: Symbols of the units that people use for lengths, by their length in metres.
_SYMBOLS = {1e-12: "pm", 1e-10: "Å", 1e-9: "nm", 1e-6: "µm", 1e-3: "mm", 1e-2: "cm", 1.0: "m"}


def symbol(unit: str | None) -> str:
    """Return a unit as figures have it; nothing if there is none.

    Examples
    --------
    >>> symbol("micrometer"), symbol("second"), symbol(None)
    ('µm', 'second', '')
    """
    return _SYMBOLS.get(METRES.get(unit or "", 0.0), unit or "")


def readable_length(value: float, unit: str | None) -> str:
    """Return a length with the unit in which its number is neither small nor long.

    Examples
    --------
    >>> readable_length(20, "micrometer"), readable_length(5000, "nanometer")
    ('20 µm', '5 µm')
    >>> readable_length(20, "pixel"), readable_length(20, None)
    ('20 pixel', '20')
    """
    if unit not in METRES:
        return f"{value:g} {unit or ''}".rstrip()
    length = value * METRES[unit]
    steps = [1e-12, 1e-9, 1e-6, 1e-3, 1.0]
    step = max((s for s in steps if length >= s * (1 - 1e-9)), default=steps[0])
    return f"{length / step:.6g} {_SYMBOLS[step]}"
