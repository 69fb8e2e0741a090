"""A picture as values: panels of coloured pixels, and what is written and drawn over them."""

from __future__ import annotations

from dataclasses import dataclass

from chunkscale.pictures.colours import RGB, WHITE, Colour
from chunkscale.pictures.layout import Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A scale bar: its length in pixels, and what stands at it."""

    pixels: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """A panel of the picture.

    Parameters
    ----------
    place : Place
    pixels : ndarray
        Red, green and blue, a pixel for each of the place.
    name : str
        Like ``"xz"``.
    bar : Bar or None
    mark : Place or None
        What the inset shows, in the pixels of the panel.
    framed : bool
        Whether it is an inset.
    """

    place: Place
    pixels: RGB
    name: str = ""
    bar: Bar | None = None
    mark: Place | None = None
    framed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of text: pieces in their colours."""

    pieces: tuple[tuple[str, Colour], ...]
    large: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What stands above an image."""

    place: Place
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """A picture that is ready to be drawn."""

    width: int
    height: int
    panels: tuple[Panel, ...]
    headers: tuple[Header, ...]


GREY: Colour = (0.62, 0.66, 0.72)


def line(text: str, shade: Colour = WHITE, *, large: bool = False) -> Line:
    """Return a line in one colour."""
    return Line(pieces=((text, shade),), large=large)
