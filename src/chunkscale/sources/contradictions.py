"""Metadata of an image against what its arrays say of themselves."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from chunkscale.errors import Notice
from chunkscale.ome.entries import axis_names
from chunkscale.ome.extents import extent_faults, largest_first, order_faults
from chunkscale.ome.model import Multiscale
from chunkscale.ome.versions import minor_version
from chunkscale.storage.documents import ArrayFacts
from chunkscale.storage.reader import ArrayReader

Facts = tuple[ArrayFacts, ...]


def ordered(image: Multiscale, facts: Sequence[ArrayFacts]) -> tuple[Multiscale, Facts]:
    """Put levels whose arrays are there from the largest to the smallest; the others stay."""
    order = largest_first(_shapes(image, facts))
    datasets = tuple(image.datasets[k] for k in order)
    return replace(image, datasets=datasets), tuple(facts[k] for k in order)


def _shapes(image: Multiscale, facts: Sequence[ArrayFacts]) -> list[tuple[int, ...]]:
    """Return the shapes of levels, empty where one is not that of such an image."""
    return [fact.shape if len(fact.shape) == len(image.axes) else () for fact in facts]


def missing_first(image: Multiscale, facts: Facts) -> int | None:
    """Return a level without an array that is the first one, or finer than that; or None."""
    if facts[0].problem:
        return 0
    first = image.datasets[0].voxel_size
    for k, (dataset, fact) in enumerate(zip(image.datasets, facts, strict=True)):
        pairs = list(zip(dataset.voxel_size, first, strict=False))
        finer = any(b < a * (1 - 1e-6) for b, a in pairs)
        if fact.problem and finer and all(b <= a * (1 + 1e-6) for b, a in pairs):
            return k
    return None


def contradictions(
    listed: Multiscale, facts: Sequence[ArrayFacts], array: ArrayReader
) -> Iterator[Notice]:
    """Yield what is wrong between an image's metadata and its arrays.

    Parameters
    ----------
    listed : Multiscale
        The image as it is listed.
    facts : sequence of ArrayFacts
        Of each level.
    array : ArrayReader
        The largest one.
    """
    paths = [dataset.path for dataset in listed.datasets]
    texts = [*order_faults(paths, _shapes(listed, facts))]
    image, facts = ordered(listed, facts)
    facts = (ArrayFacts(shape=array.shape, dtype=facts[0].dtype), *facts[1:])
    texts += _names(image, facts, array)
    for dataset, fact in zip(image.datasets, facts, strict=True):
        texts += _level(image, dataset.path, fact, facts[0])
    texts += extent_faults(image, _shapes(image, facts))
    yield from (Notice("metadata", text) for text in texts)
    if array.beyond:
        yield Notice("metadata", beyond_text(image.datasets[0].path, array))
    if array.is_hollow():
        chunks = math.prod(-(-n // c) for n, c in zip(array.shape, array.chunk, strict=True))
        text = (
            f"array {image.datasets[0].path!r} has no stored chunk (0 of {chunks}): all its "
            "voxels are the fill value; if it should have data, copy its chunks"
        )
        yield Notice("empty", text)


def beyond_text(path: str, array: ArrayReader) -> str:
    """Return what to say of chunks outside of an array."""
    return (
        f"array {path!r} has the stored chunk {array.beyond!r}, which lies beyond its shape "
        f"{array.shape} and is not read; correct the shape if it belongs there (an interrupted "
        "append?), or delete it"
    )


def _level(image: Multiscale, path: str, fact: ArrayFacts, first: ArrayFacts) -> Iterator[str]:
    if fact.problem:
        yield (
            f"dataset {path!r} is listed, and its array {fact.problem}; restore it, or remove it "
            "from the list"
        )
    elif len(fact.shape) != len(image.axes):
        yield (
            f"dataset {path!r} has {len(fact.shape)} dimensions, {fact.shape}, and the image has "
            f"the axes {axis_names(image.axes)}"
        )
    elif first.dtype and fact.dtype != first.dtype:
        yield (
            f"dataset {path!r} has the data type {fact.dtype}, and {image.datasets[0].path!r} has "
            f"{first.dtype}; all levels of an image must have the same"
        )


def _names(image: Multiscale, facts: Facts, array: ArrayReader) -> Iterator[str]:
    """Compare the names of an array's dimensions with those of the axes.

    Readers of NGFF go by the axes, and so does this one: other names may be a slip of a writer.
    Before 0.5, and where arrays have coordinates of their own (0.6), they may be what they like,
    but not the names of the axes in another order.
    """
    axes = tuple(axis_names(image.axes))
    must_match = minor_version(image.version) == 5 and array.zarr_format == 3
    stated = [array.dimension_names, *(fact.names for fact in facts[1:])]
    for dataset, names in zip(image.datasets, stated, strict=True):
        if not names or None in names or names == axes:
            continue
        moved = sorted(map(str, names)) == sorted(axes)
        if must_match or moved:
            lists = tuple(map(str, names))
            swap = f"; if the array is right, {axes[0]!r} is {lists[0]!r}" if moved else ""
            yield (
                f"array {dataset.path!r} calls its dimensions {lists}, and the image's axes are "
                f"{axes}: one of the two is wrong; the axes are used{swap}"
            )
