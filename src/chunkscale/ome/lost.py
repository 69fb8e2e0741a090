"""What NGFF metadata say of coordinates beyond the voxels' own: 0.4 and 0.5 cannot hold it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from chunkscale.ome.entries import SYSTEMS, TRANSFORMS, mappings, short
from chunkscale.ome.versions import ngff_namespace, uses_systems
from chunkscale.text import some

_PLAIN = ("identity", "scale", "translation")


def leads_on(entry: Mapping[str, Any], version: str) -> list[Mapping[str, Any]]:
    """Return the transformations of a multiscales entry that lead on from its voxels' system.

    With coordinate systems (0.6) that is all of them. Drafts name an output of each beside the
    axes of 0.4: plain ones that lead to one system are where the voxels lie.
    """
    listed = mappings(entry.get(TRANSFORMS))
    if uses_systems(entry, version):
        return listed
    named = [t for t in listed if "output" in t]
    plain = all(t.get("type") in _PLAIN for t in named)
    return [] if plain and len({system_text(t["output"]) for t in named}) < 2 else named


def placements(attributes: Mapping[str, Any], path: str) -> str:
    """Return what a scene says of where the image at a path below it lies."""
    scene = ngff_namespace(attributes).get("scene")
    listed = mappings(scene.get(TRANSFORMS)) if isinstance(scene, Mapping) else []
    return ", ".join(described(t) for t in listed if path in scene_paths([t]))


#: Of a scene, a notice names so many coordinate systems and transformations.
_SHOWN = 5


def scene_coordinates(attributes: Mapping[str, Any]) -> str:
    """Return the transformations and coordinate systems of a scene, in words."""
    scene = ngff_namespace(attributes).get("scene")
    holder = scene if isinstance(scene, Mapping) else {}
    found = [described(t) for t in mappings(holder.get(TRANSFORMS))]
    found += [f"the system {system_text(s)}" for s in mappings(holder.get(SYSTEMS))]
    return some(found, _SHOWN)


def scene_paths(transforms: object) -> Iterator[str]:
    """Yield the paths of what the transformations of a scene lead from and to."""
    for transform in mappings(transforms):
        for end in (transform.get("input"), transform.get("output")):
            path = end.get("path") if isinstance(end, Mapping) else None
            if isinstance(path, str) and path.strip("/. "):
                yield path.strip("/").removeprefix("./")


def described(transform: object) -> str:
    """Return what a transformation is, and from where it leads where to."""
    if not isinstance(transform, Mapping):
        return short(transform)
    ends = [f" {word} {system_text(transform[k])}" for word, k in _ENDS if k in transform]
    name = transform.get("name")
    called = f" {name!r}" if isinstance(name, str) and name else ""
    return f"{transform.get('type')}{called}{''.join(ends)}"


_ENDS = (("from", "input"), ("to", "output"))


def system_text(value: object) -> str:
    """Return how a coordinate system is called, which drafts did by a text alone."""
    if not isinstance(value, Mapping):
        return short(value)
    parts = [repr(value[key]) for key in ("name", "path") if value.get(key)]
    return " of ".join(parts) or "one without a name"
