"""Check one stored image: is it complete, valid and right."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chunkscale import options
from chunkscale.compute.levels import reduce_box, resample_box
from chunkscale.errors import (
    ChunkscaleError,
    GridError,
    MetadataError,
    OptionError,
    SourceNotFoundError,
)
from chunkscale.geometry.box import Box, cell_counts, whole
from chunkscale.geometry.grid import VoxelGrid, aligned_grid
from chunkscale.geometry.mapping import AxisMapping, grid_mapping, inside_range
from chunkscale.geometry.methods import find_method
from chunkscale.geometry.tables import axis_table
from chunkscale.geometry.units import METRES, metres
from chunkscale.kernels.backend import get_backend
from chunkscale.ome.rules import validate
from chunkscale.sources.base import Sizes, Source, SourceOptions, units_of
from chunkscale.sources.coarser import at_level
from chunkscale.sources.contradictions import beyond_text
from chunkscale.sources.documents import group_document
from chunkscale.sources.file_image import FileImage
from chunkscale.sources.hollow import hollow_levels
from chunkscale.sources.image import Image
from chunkscale.sources.ome_zarr import open_ome_zarr
from chunkscale.sources.opening import open_source
from chunkscale.sources.parts import Part, select
from chunkscale.storage.engine import StoreIO
from chunkscale.storage.reader import ArrayReader
from chunkscale.storage.walk import count_reads, read_all
from chunkscale.verify.objects import object_faults
from chunkscale.verify.report import MOST_FAULTS, CheckReport
from chunkscale.verify.samples import count_samples, frame_counts, sampled_frames, samples
from chunkscale.verify.second_opinion import second_opinion
from chunkscale.verify.tally import Tally

UNFINISHED = (
    "the run that wrote it did not finish; continue with resume=True (--resume), or replace it "
    "with overwrite=True (--overwrite)"
)


def record_of(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what an output of this package says of itself; nothing for all else."""
    record = attributes.get("chunkscale")
    return record if isinstance(record, Mapping) else {}


def check_image(
    uri: str,
    source: object,
    io: StoreIO,
    sizes: Sizes | None = None,
    *,
    full: bool = False,
    tally: Tally | None = None,
) -> CheckReport:
    """Check one image; see `chunkscale.check`."""
    tally = tally or Tally()
    attributes = group_document(uri).attributes
    record = record_of(attributes)
    if record.get("state") == "unfinished":
        return CheckReport(path=uri, faults=(UNFINISHED,))
    target = open_ome_zarr(uri, sizes=sizes if source is None else None, io=io)
    arrays, faults = _levels(target)
    shapes = {path: array.shape for path, array in arrays.items()}
    listed = [dataset["path"] for dataset in target.multiscale.raw["datasets"]]
    faults += validate(
        attributes,
        [*map(shapes.get, listed)],
        strict_geometry=bool(record),
        given=target.given,
    )
    faults += [n.text for n in target.notices if n.kind == "metadata" and n.text not in faults]
    missing, other_sizes = object_faults(uri, arrays, target, record)
    faults += missing
    beyond = (beyond_text(path, array) for path, array in arrays.items() if array.beyond)
    faults += [text for text in beyond if text not in faults]
    # An output is told by what its run has left.
    is_counted = isinstance(record.get("objects"), Mapping)
    notes, hollow = ((), []) if is_counted else hollow_levels(arrays)
    faults += hollow
    chunks = 0
    compares = source is not None and not faults
    tally.opens(*_extent(target.grid, arrays.values(), full=full, compares=compares))
    for array in arrays.values():
        for read, corrupt in read_all(array):
            chunks += read
            seen = 0 if compares else read * math.prod(array.chunk)
            tally.step(seen, array.dtype.itemsize)
            faults += [str(error) for _, error in corrupt]
            if len(faults) >= MOST_FAULTS:
                break
    regions = voxels = 0
    if source is not None and not faults:
        original = _opened(source, record, target, io, sizes)
        try:
            found = _compare(original, target, list(arrays.values()), record, full=full)
            for compared, wrong in found:
                regions, voxels = regions + 1, voxels + compared
                tally.step(compared, target.array.dtype.itemsize)
                faults += wrong
                if len(faults) >= MOST_FAULTS:
                    break
        except (MetadataError, GridError) as error:
            faults.append(f"it was not made from {original.uri or original.path!r}: {error}")
        if full:
            refused, unasked = second_opinion(target)
            faults, notes = [*faults, *refused], (*notes, *unasked)
        else:
            notes = (*notes, *_unseen(target.grid))
    faults += other_sizes  # last: what is wrong with a chunk is said better by reading it
    return CheckReport(
        path=uri,
        faults=tuple(faults[:MOST_FAULTS]),
        notes=notes,
        levels=len(arrays),
        chunks_read=chunks,
        regions_compared=regions,
        voxels_compared=voxels,
    )


def _extent(
    grid: VoxelGrid, arrays: Collection[ArrayReader], *, full: bool, compares: bool
) -> tuple[int, int]:
    """Return the regions that are read and compared, and the voxels that take the time."""
    reads = sum(map(count_reads, arrays))
    if not compares:
        chunks = (math.prod((*cell_counts(a.shape, a.chunk), *a.chunk)) for a in arrays)
        return reads, sum(chunks)
    counts = [count_samples(grid.replace(shape=array.shape), full=full) for array in arrays]
    return reads + sum(n for n, _ in counts), sum(voxels for _, voxels in counts)


def _levels(target: Image) -> tuple[dict[str, ArrayReader], list[str]]:
    """Open the levels, by path from the largest; return what is wrong with the others."""
    arrays, faults = {}, list[str]()
    for index, dataset in enumerate(target.multiscale.datasets):
        try:
            array = target.level(index)
            options.check_dtype(f"array {array.uri!r}", array.dtype)
            arrays[dataset.path] = array
        except SourceNotFoundError:
            continue  # a notice of the image says so
        except ChunkscaleError as error:
            faults.append(f"level {index}: {error}")
    return arrays, faults


def _opened(
    source: object, record: Mapping[str, Any], target: Image, io: StoreIO, asked: Sizes | None
) -> Source:
    """Open the source with the voxel size that the run took it to have, if that is known."""
    axes, known = target.grid.axes, record.get("source_voxel_size")
    sizes = {axes[i].name: float(known[i]) for i in target.grid.spatial} if known else {}
    wanted = dict(asked(units_of(target.grid), target.grid.ndim)) if asked and known else {}
    for name, size in wanted.items():
        if not math.isclose(sizes.get(name, size), size, rel_tol=1e-9):
            raise OptionError(
                f"source voxel size {size!r} is given for axis {name!r}, but the image was made "
                f"from voxels of {sizes[name]!r}, in its own unit; leave it out"
            )
    if (record.get("source_part") or {}).get("level"):
        sizes, asked, known = {}, None, False  # the sizes are those of a coarser level
    given = SourceOptions(sizes=(lambda *_: sizes) if known else asked, io=io)
    if isinstance(source, str):
        given = replace(given, axes=record.get("source_axes"), unit=record.get("source_unit"))
        return _part(open_source(source, given), record)
    if isinstance(source, FileImage | Part):
        return _part(open_source(source, given), record)
    if not known:
        raise OptionError(
            "the image does not state its source voxels, so it cannot be compared with an array; "
            "store the array as OME-Zarr, and give its path as source"
        )
    return _part(open_source(source, replace(given, axes=target.grid.names)), record)


def _part(source: Source, record: Mapping[str, Any]) -> Source:
    """Return the level and the part of a source that the run took."""
    part = dict(record.get("source_part") or {})
    if level := part.pop("level", 0):
        source = at_level(source, level)
    if not part or isinstance(source, Part):
        return source
    crop = {name: tuple(interval) for name, interval in part.pop("crop", {}).items()}
    return select(source, crop=crop or None, **part)


def _source_grid(source: Source, target: Image, record: Mapping[str, Any]) -> VoxelGrid:
    """Return the grid that the run took the source to have, in the units of the output."""
    if source.array_grid.names != target.grid.names:
        raise MetadataError(
            f"the axes differ: {target.grid.names} in the output, {source.array_grid.names} in the "
            "source"
        )
    if not (record.get("source_voxel_size") and record.get("source_translation")):
        return aligned_grid(source.array_grid, target.grid)
    # Recorded in the units of the output already.
    return source.array_grid.replace(
        axes=target.grid.axes,
        voxel_size=tuple(map(float, record["source_voxel_size"])),
        translation=tuple(map(float, record["source_translation"])),
    )


def _unit_faults(source: Source, target: Image, record: Mapping[str, Any]) -> Iterator[str]:
    """Find units that changed while the numbers stayed."""
    written = {name: unit for name, kind, unit in record.get("axes", ()) if kind == "space"}
    for axis in target.grid.axes:
        if axis.name in written and metres(axis.unit) != metres(written[axis.name]):
            yield (
                f"axis {axis.name!r}: the unit is {axis.unit!r}, and the run wrote "
                f"{written[axis.name]!r} beside its numbers"
            )
            return
    stated = source.stated
    if not (record.get("source_voxel_size") and stated):
        return
    for i in source.array_grid.spatial:
        ours, theirs = target.grid.axes[i], source.array_grid.axes[i]
        same_numbers = math.isclose(float(record["source_voxel_size"][i]), stated[i])
        # An axis without a unit of length takes that of the others, if sizes are given for all.
        is_length = ours.unit in METRES and theirs.unit is not None
        if same_numbers and is_length and metres(ours.unit) != metres(theirs.unit):
            yield (
                f"axis {ours.name!r}: the unit is {ours.unit!r}, but the sizes are those of the "
                f"source, which are in {theirs.unit!r}"
            )


def _compare(
    source: Source,
    target: Image,
    arrays: Sequence[ArrayReader],
    record: Mapping[str, Any],
    *,
    full: bool,
) -> Iterator[tuple[int, list[str]]]:
    """Recompute boxes of every level; yield voxels compared and faults found."""
    method = find_method(record.get("method"), is_label=target.is_label).name
    downsample = options.downsample(record.get("downsample"), method, is_label=False)
    outside = record.get("outside", "edge")
    fill = options.outside(outside, target.array.dtype.name)
    grid = _source_grid(source, target, record)
    yield from ((0, [text]) for text in _unit_faults(source, target, record))
    mapping = grid_mapping(
        grid, target.grid, method=method, antialias=bool(record.get("antialias"))
    )
    yield from ((0, [text]) for text in _coordinate_faults(grid, target.grid, mapping))
    if target.array.dtype != source.array.dtype:
        raise MetadataError(
            f"the data types differ: {target.array.dtype} in the output, {source.array.dtype} in "
            "the source"
        )
    reference = get_backend("reference")
    for box in samples(target.grid, full=full):
        expected = resample_box(
            mapping,
            box,
            source.array.read,
            outside=fill,
            dtype=target.array.dtype,
            backend=reference,
        )
        yield box.size, _differences("0", box, arrays[0].read(box), expected)
    for index in range(1, len(arrays)):
        fine, coarse = arrays[index - 1], arrays[index]
        factors = cell_counts(fine.shape, coarse.shape)
        if any(f not in (1, 2) for f in factors):
            continue
        for box in samples(target.level_grid(index), full=full):
            above = box.refined(factors).clipped(whole(fine.shape))
            finer = fine.read(above)
            expected = reduce_box(finer, factors, downsample=downsample, backend=reference)
            path = target.multiscale.datasets[index].path
            yield box.size, _differences(path, box, coarse.read(box), expected)


def _unseen(grid: VoxelGrid) -> Iterator[str]:
    """Say how many time points and channels were not compared together."""
    seen, there = len(sampled_frames(grid)), math.prod(frame_counts(grid))
    if seen < there:
        yield (
            f"{seen} of {there} pairs of time point and channel were compared, among them every "
            "time point and every channel; compare all with full=True (--full)"
        )


def _differences(path: str, box: Box, found: NDArray[Any], expected: NDArray[Any]) -> list[str]:
    same = found == expected
    if found.dtype.kind == "f":
        same |= np.isnan(found) & np.isnan(expected)
    wrong = int(same.size - np.count_nonzero(same))
    if not wrong:
        return []
    at = tuple(int(i) for i in np.argwhere(~same)[0])
    where = tuple(a + i for a, i in zip(box.start, at, strict=True))
    return [
        f"level {path}: {wrong} of {box.size} voxels in {box} differ from the source; the first, "
        f"at {where}, is {found[at]} and should be {expected[at]}"
    ]


def _coordinate_faults(
    source: VoxelGrid, target: VoxelGrid, mapping: Sequence[AxisMapping]
) -> Iterator[str]:
    """Compare the mapping with positions computed from the metadata alone."""
    for axis in source.spatial:
        m = mapping[axis]
        start, stop = inside_range(m)
        if stop <= start or m.kind == "weights":
            continue
        # The last voxel tells a wrong step, and one in the middle a wrong start: at the ends
        # samples beyond the first and the last centre are all the edge voxel.
        for i in ((start + stop) // 2, stop - 1):
            table = axis_table(m, i, i + 1)
            position = target.translation[axis] + i * target.voxel_size[axis]
            index = (position - source.translation[axis]) / source.voxel_size[axis]
            index = min(max(index, 0.0), source.shape[axis] - 1.0)
            first = used = float(table.index[0])
            if m.kind == "lerp":
                used += float(table.weight[0])
            elif m.kind == "cells":
                used = min(max(index, first), first + float(table.weight[0]) - 1.0)
            allowed = 1e-6 * max(1.0, index) + (0.5 if m.kind in ("pick", "cells") else 0.0)
            allowed += 4 * math.ulp(position) / source.voxel_size[axis]
            if abs(used - index) > allowed:
                yield (
                    f"axis {source.axes[axis].name!r}: voxel {i} lies at source index {index} "
                    f"by its metadata, and was computed at {used}"
                )
                break
