"""What to show, and how: values that go into a picture."""

from __future__ import annotations

from dataclasses import dataclass

from chunkscale.pictures.colours import RGB
from chunkscale.sources.base import Source

#: What a panel shows of the voxels that lie behind one another.
PROJECTIONS = {
    "slice": "central slices",
    "max": "maximum projections",
    "mean": "mean projections",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """An image to show.

    Parameters
    ----------
    source : Source
        One time point of it, and the channels that are shown.
    title : str
    facts : (str, str)
        Its shape, and its voxel size.
    channels : tuple of str
        Names of the channels, if they have any.
    notes : tuple of str
        What is not shown of it.
    labels : tuple of Source
        What lies over it.
    """

    source: Source
    title: str
    facts: tuple[str, str]
    channels: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    labels: tuple[Source, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How images are shown; see `chunkscale.show`.

    Parameters
    ----------
    table : ndarray, optional
        Colour map of single channels.
    """

    projection: str = "slice"
    plane: str = "all"
    percentiles: tuple[float, float] = (1.0, 99.8)
    table: RGB | None = None
    inset: bool = True
    width: int = 1200
