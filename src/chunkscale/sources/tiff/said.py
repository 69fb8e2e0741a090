"""What a TIFF file says of its image, whichever dialect it is in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from chunkscale.errors import Notice
from chunkscale.geometry.units import METRES, metres

_METRIC = "yocto zepto atto femto pico nano micro milli centi deci deka hecto kilo mega giga tera"

_NAMED = (
    *(f"{prefix}meter" for prefix in (*_METRIC.split(), "peta", "exa", "zetta", "yotta", "")),
    *("angstrom", "inch", "foot", "yard", "mile", "parsec"),
)

#: NGFF's names of units of length, by their length.
_NAMES = {METRES[name]: name for name in _NAMED}

_SPELLED = {
    **dict.fromkeys(("um", "micron", "microns", "micrometers", "µ", "u"), "micrometer"),
    **{"in": "inch", "inches": "inch", "ft": "foot", "yd": "yard", "mi": "mile", "Å": "angstrom"},
    **{"millimeters": "millimeter", "nanometers": "nanometer", "centimeters": "centimeter"},
    **{"km": "kilometer", "dm": "decimeter", "fm": "femtometer", "am": "attometer"},
}

_TIMES = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), "second"),
    **dict.fromkeys(("ms", "msec", "millisecond", "milliseconds"), "millisecond"),
    **dict.fromkeys(("us", "µs", "μs", "usec", "microsecond"), "microsecond"),
    **dict.fromkeys(("ns", "nsec", "nanosecond"), "nanosecond"),
    **dict.fromkeys(("min", "mins", "minute", "minutes"), "minute"),
    **dict.fromkeys(("h", "hr", "hour", "hours"), "hour"),
    **dict.fromkeys(("d", "day", "days"), "day"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What is known of an image; what is not said is not there.

    Parameters
    ----------
    sizes, units, translation : mapping
        By axis: t, z, y, x.
    attributes : mapping
        As an output takes them over.
    name : str, optional
    origin : str
        What kind of file it is, for messages, where that says more than that it is a TIFF file.
    notices : tuple of Notice
    """

    sizes: Mapping[str, float] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    translation: Mapping[str, float] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)
    name: str | None = None
    origin: str = ""
    notices: tuple[Notice, ...] = ()


def length_unit(text: object) -> str | None:
    """Return NGFF's name of a unit of length; None for what is none, like pixels.

    Examples
    --------
    >>> length_unit("µm"), length_unit("micron"), length_unit("in"), length_unit("pixel")
    ('micrometer', 'micrometer', 'inch', None)
    """
    if not isinstance(text, str):
        return None
    plain = text.strip().strip("\0").replace("\\u00B5", "µ").replace("\\u00b5", "µ")
    for name in (plain, _words(plain)):
        name = _SPELLED.get(name, name)
        if isinstance(found := metres(name), float):
            return _NAMES[found]
    return None


def time_unit(text: object) -> str | None:
    """Return NGFF's name of a unit of time.

    Examples
    --------
    >>> time_unit("sec"), time_unit("fortnight")
    ('second', None)
    """
    return _TIMES.get(_words(text.strip())) if isinstance(text, str) else None


def _words(text: str) -> str:
    """Return words in lower case; in a symbol a capital is another prefix (Mm, Ms)."""
    return text.lower() if len(text) > 2 or text.isupper() else text
