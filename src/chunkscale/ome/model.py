"""What NGFF metadata says, as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from chunkscale.geometry.grid import Axis


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """One resolution level, with all transformations composed.

    Parameters
    ----------
    path : str
        Path of the array inside the image's group.
    voxel_size : tuple of float
        As the metadata has it, unchecked. Empty if the metadata has none.
    translation : tuple of float
        Position of the centre of voxel 0; zeros if the metadata has none, NaN where it cannot
        be understood.
    faults : tuple of str
        What cannot be understood of its transformations (not compared).
    backwards : str
        A scale with a negative number, in words; empty if there is none (not compared).
    """

    path: str
    voxel_size: tuple[float, ...]
    translation: tuple[float, ...]
    faults: tuple[str, ...] = field(default=(), compare=False)
    backwards: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Multiscale:
    """A multiscale image as its metadata describes it.

    Parameters
    ----------
    version : str
        NGFF version as spelled, or the one that the shape of the metadata implies.
    name : str or None
    axes : tuple of Axis
    datasets : tuple of Dataset
        As they are listed; `sources.contradictions.ordered` puts them in order.
    kind : str or None
        The NGFF "type": how the smaller levels were made.
    is_label : bool
        Whether the group says "image-label".
    raw : dict
        The multiscales entry as it is (not compared).
    """

    version: str
    name: str | None = None
    axes: tuple[Axis, ...]
    datasets: tuple[Dataset, ...]
    kind: str | None = None
    is_label: bool = False
    raw: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """A group that lists images, or groups of images, instead of being one.

    Parameters
    ----------
    kind : str
        ``"plate"``: `paths` are wells. ``"well"``: fields of view. ``"labels"``:
        label images. ``"bioformats2raw"``: `paths` is empty, because the images
        are listed in the ``OME`` subgroup, or else are called 0, 1, 2 and so on.
        ``"series"``: such an ``OME`` subgroup; `paths` start at its parent. ``"scene"``:
        images that it places.
    paths : tuple of str
        Relative to the group, in the order of the metadata.
    """

    kind: str
    paths: tuple[str, ...]
