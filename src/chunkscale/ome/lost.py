"""What NGFF metadata say of coordinates beyond the voxels' own: 0.4 and 0.5 cannot hold it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from chunkscale.ome.entries import SYSTEMS, TRANSFORMS, mappings
from chunkscale.ome.versions import ngff_namespace, uses_systems, version_of
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
    return [] if plain and len({_system(t["output"]) for t in named}) < 2 else named


def further_coordinates(attributes: Mapping[str, Any]) -> str:
    """Return what an image says of further coordinate systems; nothing if it says nothing."""
    ngff = ngff_namespace(attributes)
    (entry, *_) = mappings(ngff.get("multiscales"))
    levels = [t for d in mappings(entry.get("datasets")) for t in mappings(d.get(TRANSFORMS))]
    own = {_system(t["output"]) for t in levels if "output" in t}
    version = version_of(attributes, entry)
    transforms = leads_on(entry, version)
    systems = mappings(entry.get(SYSTEMS))
    if not uses_systems(entry, version):
        own = {_system(s) for s in systems if s.get("axes") == entry.get("axes")}
    elif not own and len(systems) == 1:
        systems = []  # it needs no name to be the voxels' own
    for holder in (ngff, attributes) if ngff is not attributes else (ngff,):
        transforms = [*transforms, *mappings(holder.get(TRANSFORMS))]
        systems = [*systems, *mappings(holder.get(SYSTEMS))]
    found = [_described(t) for t in transforms]
    names = dict.fromkeys(_system(s) for s in systems)
    found += [f"the system {name}" for name in names if name not in own]
    return ", ".join(found)


def placements(attributes: Mapping[str, Any], path: str) -> str:
    """Return what a scene says of where the image at a path below it lies."""
    scene = ngff_namespace(attributes).get("scene")
    listed = mappings(scene.get(TRANSFORMS)) if isinstance(scene, Mapping) else []
    return ", ".join(_described(t) for t in listed if path in scene_paths([t]))


#: Of a scene, a notice names so many coordinate systems and transformations.
_SHOWN = 5


def scene_coordinates(attributes: Mapping[str, Any]) -> str:
    """Return the transformations and coordinate systems of a scene, in words."""
    scene = ngff_namespace(attributes).get("scene")
    holder = scene if isinstance(scene, Mapping) else {}
    found = [_described(t) for t in mappings(holder.get(TRANSFORMS))]
    found += [f"the system {_system(s)}" for s in mappings(holder.get(SYSTEMS))]
    return some(found, _SHOWN)


def scene_paths(transforms: object) -> Iterator[str]:
    """Yield the paths of what the transformations of a scene lead from and to."""
    for transform in mappings(transforms):
        for end in (transform.get("input"), transform.get("output")):
            path = end.get("path") if isinstance(end, Mapping) else None
            if isinstance(path, str) and path.strip("/. "):
                yield path.strip("/").removeprefix("./")


def _described(transform: Mapping[str, Any]) -> str:
    ends = [f" {word} {_system(transform[k])}" for word, k in _ENDS if k in transform]
    return f"{transform.get('type')}{''.join(ends)}"


_ENDS = (("from", "input"), ("to", "output"))


def _system(value: object) -> str:
    """Return how a coordinate system is called, which drafts did by a text alone."""
    if not isinstance(value, Mapping):
        return repr(value)
    parts = [repr(value[key]) for key in ("name", "path") if value.get(key)]
    return " of ".join(parts) or "one without a name"
