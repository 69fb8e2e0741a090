"""Metadata of an image against what its arrays say of themselves."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from chunkscale.errors import Notice
from chunkscale.ome.entries import axis_names
from chunkscale.ome.extents import extent_faults
from chunkscale.ome.model import Multiscale
from chunkscale.ome.versions import minor_version
from chunkscale.storage.documents import ArrayFacts
from chunkscale.storage.reader import ArrayReader
from chunkscale.text import times

Facts = tuple[ArrayFacts, ...]


def largest_first(image: Multiscale, facts: Sequence[ArrayFacts]) -> tuple[Multiscale, Facts]:
    """Put levels whose arrays are there from the largest to the smallest; the others stay.

    Their scales are no help: either may be wrong, and voxels are what is read.
    """
    sizes = {
        k: math.prod(fact.shape)
        for k, fact in enumerate(facts)
        if len(fact.shape) == len(image.axes)
    }
    order = list(range(len(facts)))
    for place, k in zip(sizes, sorted(sizes, key=lambda k: -sizes[k]), strict=True):
        order[place] = k
    datasets = tuple(image.datasets[k] for k in order)
    return replace(image, datasets=datasets), tuple(facts[k] for k in order)


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


def shapes_text(image: Multiscale, facts: Facts) -> str:
    """Name the levels that are there."""
    return ", ".join(
        f"{dataset.path!r} ({times(fact.shape)})"
        for dataset, fact in zip(image.datasets, facts, strict=True)
        if not fact.problem
    )


def contradictions(
    image: Multiscale, facts: Facts, array: ArrayReader, listed: Multiscale
) -> Iterator[Notice]:
    """Yield what is wrong between an image's metadata and its arrays.

    Parameters
    ----------
    image : Multiscale
        Its levels from the largest to the smallest.
    facts : tuple of ArrayFacts
        Of each level.
    array : ArrayReader
        Level 0.
    listed : Multiscale
        The image as it is listed.
    """
    facts = (ArrayFacts(shape=array.shape, dtype=facts[0].dtype), *facts[1:])
    texts = [*_order(image, facts, listed), *_names(image, facts, array)]
    for dataset, fact in zip(image.datasets, facts, strict=True):
        texts += _level(image, dataset.path, fact, facts[0])
    shapes = [f.shape if len(f.shape) == len(image.axes) else () for f in facts]
    yield from (Notice("metadata", text) for text in (*texts, *extent_faults(image, shapes)))
    if array.beyond:
        yield Notice("metadata", beyond_text(image.datasets[0].path, array))
    if array.is_hollow():
        chunks = math.prod(-(-n // c) for n, c in zip(array.shape, array.chunk, strict=True))
        text = (
            f"array {image.datasets[0].path!r} has no stored chunk (0 of {chunks}): all its "
            "voxels are its fill value; if it should have others, copy its chunks"
        )
        yield Notice("empty", text)


def beyond_text(path: str, array: ArrayReader) -> str:
    """Return what to say of chunks outside of an array."""
    return (
        f"array {path!r} has the stored chunk {array.beyond!r}, which lies beyond its shape "
        f"{array.shape} and is not read; correct the shape if it belongs there (an append that did "
        "not end?), or delete it"
    )


def _order(image: Multiscale, facts: Facts, listed: Multiscale) -> Iterator[str]:
    paths = [dataset.path for dataset in listed.datasets]
    first = image.datasets[0].path
    if paths != [dataset.path for dataset in image.datasets]:
        yield (
            f"the datasets are listed as {', '.join(map(repr, paths))}, and not from the largest "
            f"to the smallest: {shapes_text(image, facts)}; the largest, {first!r}, is "
            "taken as level 0"
        )


def _level(image: Multiscale, path: str, fact: ArrayFacts, first: ArrayFacts) -> Iterator[str]:
    if fact.problem:
        yield (
            f"dataset {path!r} is listed, and its array {fact.problem}; restore it, or take it out "
            "of the list"
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
                f"{axes}: one of both is wrong; the axes are taken{swap}"
            )
