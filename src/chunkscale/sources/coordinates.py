"""What an output says of coordinate systems beyond its voxels' own, by the source it is made of."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from chunkscale.geometry.grid import Axis
from chunkscale.ome.further import Coordinates, coordinates
from chunkscale.sources.base import Source


def coordinates_of(
    source: Source, target: Sequence[Axis], labels: Collection[str] | None = None
) -> Coordinates:
    """Return what an output on axes says of coordinate systems; see `ome.further.coordinates`."""
    made = coordinates(
        source.attributes,
        source.whole.axes,
        target,
        labels=labels,
        redefined=_is_redefined(source),
    )
    if not made.transforms or "channels" not in source.part:
        return made
    text = (
        "some channels are selected and renumbered, so a transformation that depends on a "
        "channel's number now applies to another channel"
    )
    return replace(made, changes=(*made.changes, text))


def _is_redefined(source: Source) -> bool:
    """Whether voxel sizes were given that are not those of the metadata."""
    grid, stated = source.array_grid, source.stated
    return (
        bool(stated)
        and stated is not None
        and any(stated[i] != grid.voxel_size[i] for i in grid.spatial)
    )
