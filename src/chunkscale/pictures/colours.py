"""Colours: channels added up, labels in a palette that does not change, outlines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chunkscale.ome.display import channel_colors, label_rgb, listed_channels
from chunkscale.pictures.pixels import Pixels
from chunkscale.pictures.views import Span
from chunkscale.sources.base import Source

#: Red, green and blue from 0 to 1.
Colour = tuple[float, float, float]

RGB = NDArray[np.float64]

#: Of channels that have no colours that tell them apart.
_CHANNELS = ("00FF00", "FF00FF", "00FFFF", "FFFF00", "FF4040", "4080FF", "FFFFFF")

WHITE: Colour = (1.0, 1.0, 1.0)

#: How much of a label's colour lies over the image inside its outline.
_FILL = 0.18


def colour(digits: str) -> Colour:
    """Return the colour that six hexadecimal digits say.

    Examples
    --------
    >>> colour("FF0000")
    (1.0, 0.0, 0.0)
    """
    red, green, blue = bytes.fromhex(digits)
    return red / 255, green / 255, blue / 255


def channel_colours(stated: Sequence[str | None]) -> list[Colour]:
    """Return a colour for each channel: those that are stated, if they tell all channels apart.

    A single one keeps its colour, and is white without.

    Examples
    --------
    >>> channel_colours(["FFFFFF", "FFFFFF"])
    [(0.0, 1.0, 0.0), (1.0, 0.0, 1.0)]
    >>> channel_colours([None]), channel_colours(["FF0000", "0000FF"])
    ([(1.0, 1.0, 1.0)], [(1.0, 0.0, 0.0), (0.0, 0.0, 1.0)])
    """
    if len(stated) == 1:
        return [colour(stated[0] or "FFFFFF")]
    usable = [digits for digits in stated if digits not in (None, "000000")]
    if len({digits.upper() for digits in usable if digits}) == len(stated):
        return [colour(digits) for digits in usable if digits]
    return [colour(_CHANNELS[i % len(_CHANNELS)]) for i in range(len(stated))]


def source_colours(source: Source) -> list[Colour]:
    """Return a colour for each channel of an image; see `channel_colours`."""
    grid = source.grid
    count = 1 if grid.channel_axis is None else grid.shape[grid.channel_axis]
    stated = channel_colors(listed_channels(source.attributes)[:count])
    return channel_colours([*stated, *[None] * (count - len(stated))])


def legible(shade: Colour) -> Colour:
    """Return a colour that can be read on dark ground: blue and dark ones are lightened.

    Examples
    --------
    >>> legible((0.0, 1.0, 0.0)), [round(part, 2) for part in legible((0.0, 0.0, 1.0))]
    ((0.0, 1.0, 0.0), [0.4, 0.4, 1.0])
    """
    light = 0.3 * shade[0] + 0.59 * shade[1] + 0.11 * shade[2]
    share = max(0.0, (0.47 - light) / (1.0 - light)) if light < 1 else 0.0
    red, green, blue = (part + share * (1 - part) for part in shade)
    return red, green, blue


def scaled(plane: Pixels, limits: Span) -> Pixels:
    """Return values from 0 to 1 between contrast limits; 0 where there is none."""
    low, high = limits
    with np.errstate(invalid="ignore"):
        shares = np.clip((plane - low) / (high - low), 0.0, 1.0)
    return np.where(np.isfinite(plane), shares, 0.0)


def blended(planes: Pixels, limits: Sequence[Span], colours: Sequence[Colour]) -> RGB:
    """Return channels as one picture: each in its colour, added up.

    Examples
    --------
    >>> blended(np.ones((2, 1, 1)), [(0, 1), (0, 1)], [(1, 0, 0), (0, 1, 0)]).tolist()
    [[[1.0, 1.0, 0.0]]]
    """
    total = np.zeros((*planes.shape[1:], 3))
    for plane, span, shade in zip(planes, limits, colours, strict=True):
        total += scaled(plane, span)[..., None] * np.array(shade)
    return np.minimum(total, 1.0)


def mapped(plane: Pixels, limits: Span, table: RGB) -> RGB:
    """Return one channel by a colour map: a table of colours, from low to high."""
    found = table[np.rint(scaled(plane, limits) * (len(table) - 1)).astype(int)]
    result: RGB = np.where(np.isfinite(plane)[..., None], found, 0.0)
    return result


def label_picture(
    labels: NDArray[Any], stated: Mapping[int, Sequence[int]]
) -> tuple[RGB, NDArray[np.float64]]:
    """Return the colour of each label, the same in every picture, and how much of it there is.

    Parameters
    ----------
    labels : ndarray of int
    stated : mapping
        Colours (red, green, blue, alpha up to 255) that the image gives to labels.
    """
    values, places = np.unique(labels, return_inverse=True)
    table = np.zeros((len(values), 4))
    for place, value in enumerate(map(int, values)):
        if value in stated:
            table[place] = np.array(stated[value]) / 255
        elif value:
            table[place] = (*(part / 255 for part in label_rgb(value)), 1.0)
    found = table[places.reshape(labels.shape)]
    return found[..., :3], found[..., 3]


def outlines(labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Return the pixels of labels that touch another one, or none.

    Examples
    --------
    >>> outlines(np.array([[0, 7, 7, 7, 0]] * 3)).astype(int)
    array([[0, 1, 0, 1, 0],
           [0, 1, 0, 1, 0],
           [0, 1, 0, 1, 0]])
    """
    found = np.zeros(labels.shape, bool)
    for here, there in (
        (np.s_[1:, :], np.s_[:-1, :]),
        (np.s_[:-1, :], np.s_[1:, :]),
        (np.s_[:, 1:], np.s_[:, :-1]),
        (np.s_[:, :-1], np.s_[:, 1:]),
    ):
        found[here] |= labels[here] != labels[there]
    found &= labels != 0
    return found


def overlaid(picture: RGB, labels: NDArray[Any], stated: Mapping[int, Sequence[int]]) -> RGB:
    """Return a picture with labels over it: outlines in their colours, and a tint inside."""
    shades, alpha = label_picture(labels, stated)
    share = np.where(outlines(labels), 1.0, _FILL) * alpha
    return picture * (1 - share[..., None]) + shades * share[..., None]


def alone(labels: NDArray[Any], stated: Mapping[int, Sequence[int]]) -> RGB:
    """Return labels by themselves on dark ground, with brighter outlines between them."""
    shades, alpha = label_picture(labels, stated)
    strength = np.where(outlines(labels), 1.0, 0.72) * alpha
    return shades * strength[..., None]
