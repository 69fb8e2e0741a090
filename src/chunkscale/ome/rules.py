"""The strict rules of NGFF, and of the geometry of a pyramid.

`docs/CONFORMANCE.md` has a table of them: what is refused, and what is taken with a notice.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from chunkscale.errors import GridError, MetadataError, Notice
from chunkscale.geometry.grid import VoxelGrid
from chunkscale.ome.axes import raw_axes, type_notices
from chunkscale.ome.compose import has_schema_form
from chunkscale.ome.entries import SYSTEMS, TRANSFORMS, mappings, plain_path, short
from chunkscale.ome.extents import largest_first, order_faults
from chunkscale.ome.lost import leads_on
from chunkscale.ome.model import Collection, Multiscale
from chunkscale.ome.read import coarser_grid, describe, grid_of, number_notices
from chunkscale.ome.versions import minor_version, ngff_namespace, uses_systems


def metadata_notices(
    attributes: Mapping[str, Any], image: Multiscale, given: Mapping[str, float] | None = None
) -> tuple[Notice, ...]:
    """Return what `describe` and `grid_of` forgive although NGFF does not.

    How it is shown has rules of its own; see `chunkscale.ome.carry`.

    Parameters
    ----------
    attributes : mapping
        All attributes of the image's group.
    image : Multiscale
        What `describe` makes of them.
    given : mapping of str to float, optional
        Voxel sizes that come before those of the metadata.
    """
    known = {axis.name for axis in image.axes if axis.kind == "space"} <= set(given or {})
    texts = _spelling_faults(attributes, image, known=known)
    types = type_notices(raw_axes(image.raw, image.version), image.version)
    faults = (Notice("metadata", text) for text in texts)
    return (*faults, *types, *number_notices(image, given or {}))


def validate(
    attributes: Mapping[str, Any],
    level_shapes: Sequence[Sequence[int] | None],
    *,
    strict_geometry: bool = False,
    given: Mapping[str, float] | None = None,
) -> list[str]:
    """Return what is wrong with an image's metadata, in words.

    Parameters
    ----------
    attributes : mapping
        All attributes of the image's group.
    level_shapes : sequence of sequence of int
        Shapes of the arrays, in the order of the datasets; None for one that is not there.
    strict_geometry : bool
        Whether the levels must also be related as in stores that this package
        makes: each axis halved or kept from level to level, sizes rounded up,
        positions at the centres of the merged voxels.
    given : mapping of str to float, optional
        Voxel sizes of the largest level that come before those of the metadata.

    Returns
    -------
    list of str
        Empty if nothing is wrong.
    """
    try:
        image = describe(attributes)
    except MetadataError as error:
        return [str(error)]
    if isinstance(image, Collection):
        return [f"the group is a collection ({image.kind}), not an image; check its images"]
    faults = [n.text for n in metadata_notices(attributes, image, given) if n.kind == "metadata"]
    if len(level_shapes) != len(image.datasets):
        faults.append(
            f"the metadata lists {len(image.datasets)} datasets, but there are "
            f"{len(level_shapes)} arrays"
        )
        return faults
    grids: dict[int, VoxelGrid] = {}
    found = {level: shape for level, shape in enumerate(level_shapes) if shape is not None}
    # The largest first, for which sizes are given.
    for level, shape in sorted(found.items(), key=lambda item: -math.prod(item[1])):
        try:
            if grids and given:
                (first, grid), *_ = grids.items()
                grids[level] = coarser_grid(image, (first, level), grid, shape, given)
            else:
                grids[level] = grid_of(image, level, shape, given)
        except (MetadataError, GridError) as error:
            faults.append(str(error))
    if len(grids) == len(image.datasets):
        shapes = [grids[level].shape for level in sorted(grids)]
        faults.extend(order_faults([dataset.path for dataset in image.datasets], shapes))
        ordered = [(level, grids[level]) for level in largest_first(shapes)]
        faults.extend(_growth_faults(image, ordered))
        if strict_geometry:
            faults.extend(_geometry_faults(image, ordered))
    return faults


def _spelling_faults(
    attributes: Mapping[str, Any], image: Multiscale, *, known: bool
) -> Iterator[str]:
    """Yield what `describe` forgives although NGFF does not; of a `known` voxel size no lack."""
    minor = minor_version(image.version)
    ngff = ngff_namespace(attributes)
    if ngff is not attributes and not isinstance(ngff.get("version"), str):
        yield "'ome' has no 'version'; it must say which version of OME-NGFF it follows"
    if minor >= 5 and ngff is attributes:
        yield f"version {image.version} metadata must be inside the attribute 'ome'"
    if minor > 6:
        yield f"version {image.version!r} is a draft; it is read as 0.6, whose axes it has"
    systems = uses_systems(image.raw, image.version)
    yield from _axes_faults(image, minor, systems=systems)
    if minor in (4, 5) and not systems:
        for axis in image.raw.get("axes", ()):
            if isinstance(axis, str):
                yield f"axis {axis!r} is a string; since version 0.4 it must be an object"
        common = image.raw.get(TRANSFORMS)
        further = leads_on(image.raw, image.version)
        own = [t for t in mappings(common) if t not in further]
        if common is not None and (own or not further):
            yield from _list_faults(own, "the multiscales entry as a whole")
        for dataset in image.raw["datasets"]:
            listed = dataset.get(TRANSFORMS)
            yield from _list_faults(listed, f"dataset {dataset['path']!r}", known=known)
    if systems:
        for dataset in image.raw["datasets"]:
            yield from _dataset_faults(dataset)
    same: dict[tuple[str, ...], list[str]] = {}
    for path in (dataset.path for dataset in image.datasets):
        parts = tuple(part for part in path.split("/") if part not in ("", "."))
        same.setdefault(parts, []).append(path)
    for paths in same.values():
        if len(paths) > 1:
            names = " and ".join(map(repr, dict.fromkeys(paths)))
            yield f"dataset {names} is listed {len(paths)} times"


def _axes_faults(image: Multiscale, minor: int, *, systems: bool) -> Iterator[str]:
    """Yield axes that are not where their version has them, or are told twice."""
    if systems and image.version in ("0.3", "0.4", "0.5"):  # drafts of these know them
        yield (
            f"there are no 'axes', which version {image.version} must have; those of {SYSTEMS!r} "
            "are used, which that version does not have: correct the version, or list 'axes'"
        )
    elif systems and "axes" in image.raw and image.raw["axes"] != raw_axes(image.raw, "0.6"):
        yield (
            f"'axes' differ from those of {SYSTEMS!r}, which apply in version {image.version}; "
            "correct one of them, or remove 'axes'"
        )
    elif minor >= 6 and not systems:
        yield f"'axes' are used, but version {image.version} must list {SYSTEMS!r} instead"


def _dataset_faults(dataset: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is odd about the transformation of a dataset of version 0.6.

    Drafts have texts as ends, and not all writers have one list of one scale and one translation.
    """
    for transform in mappings(dataset.get(TRANSFORMS)):
        if not has_schema_form(transform):
            yield (
                f"the transformation of dataset {dataset['path']!r} is {short(transform)}; in "
                "version 0.6 it must be an identity, a scale, or a sequence of one scale and one "
                "translation; it is read as such"
            )
        for end, key in (("input", "path"), ("output", "name")):
            stated = transform.get(end)
            name = stated.get(key) if isinstance(stated, Mapping) else stated
            if not isinstance(name, str):
                yield (
                    f"the {end} of the transformation of dataset {dataset['path']!r} is "
                    f"{short(stated)}; in version 0.6 it must be an object with a {key!r}"
                )
            elif key == "path" and plain_path(name) != plain_path(dataset["path"]):
                yield (
                    f"the transformation of dataset {dataset['path']!r} leads from {name!r}; it is "
                    "taken as that of the dataset"
                )


def _list_faults(transforms: object, where: str, *, known: bool = False) -> Iterator[str]:
    kinds = [entry.get("type") for entry in mappings(transforms)]
    if "identity" in kinds:
        yield f"{where} has an identity transformation; only scale and translation may be listed"
    if "scale" not in kinds and not known:
        yield f"the {TRANSFORMS} of {where} have no scale; there must be exactly one"


#: Levels from the largest: where each is listed, and its grid.
_Ordered = Sequence[tuple[int, VoxelGrid]]


def _growth_faults(image: Multiscale, levels: _Ordered) -> Iterator[str]:
    for (_, before), (level, grid) in itertools.pairwise(levels):
        if any(a < b for a, b in zip(before.shape, grid.shape, strict=True)):
            yield (
                f"dataset {image.datasets[level].path!r} {grid.shape} is larger along an axis than "
                f"the one before it {before.shape}; levels must shrink or stay along each"
            )


def _geometry_faults(image: Multiscale, levels: _Ordered) -> Iterator[str]:
    first = before = levels[0][1]
    for level, grid in levels:
        dataset = image.datasets[level]
        kinds = [e.get("type") for e in mappings(image.raw["datasets"][level].get(TRANSFORMS))]
        if not uses_systems(image.raw, image.version) and kinds != ["scale", "translation"]:
            yield (
                f"the transformations of dataset {dataset.path!r} are {kinds}; they must be a "
                "scale and a translation"
            )
        for i, axis in enumerate(image.axes):
            where = f"dataset {dataset.path!r}, axis {axis.name!r}"
            if grid is not first:
                yield from _step_faults(before, grid, i, where)
            yield from _position_faults(first, grid, i, where)
        before = grid


def _step_faults(before: VoxelGrid, grid: VoxelGrid, i: int, where: str) -> Iterator[str]:
    step = grid.voxel_size[i] / before.voxel_size[i]
    allowed = (1, 2) if i in grid.spatial else (1,)
    whole = round(step) if math.isclose(step, round(step), rel_tol=1e-9) else 0
    if whole not in allowed:
        yield (
            f"{where}: the voxel size {grid.voxel_size[i]!r} is {step:.6g} times that of the level "
            f"before, {before.voxel_size[i]!r}; it must be {' or '.join(map(str, allowed))} times"
        )
    elif grid.shape[i] != -(-before.shape[i] // whole):
        yield (
            f"{where}: {grid.shape[i]} voxels; {before.shape[i]} voxels at the level before and a "
            f"step of {whole} make {-(-before.shape[i] // whole)}"
        )


def _position_faults(first: VoxelGrid, grid: VoxelGrid, i: int, where: str) -> Iterator[str]:
    factor = grid.voxel_size[i] / first.voxel_size[i]
    expected = first.translation[i] + (factor - 1) / 2 * first.voxel_size[i]
    tolerance = 1e-6 * first.voxel_size[i] + 1e-12 * abs(expected)
    if abs(grid.translation[i] - expected) > tolerance:
        yield (
            f"{where}: the translation is {grid.translation[i]!r}; the centre of the first voxel "
            f"of {factor:.6g} merged ones lies at {expected!r}"
        )
