"""Scenes of version 0.6: what the mirror of one says of where its images lie."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from chunkscale.errors import Notice
from chunkscale.ome.entries import DEEPEST, SYSTEMS, TRANSFORMS, depth, plain_path
from chunkscale.ome.lost import described, scene_paths, system_text
from chunkscale.ome.systems import listed, stored_arrays, system_fault, transform_fault
from chunkscale.ome.versions import holds_systems, ngff_namespace
from chunkscale.text import some

#: Where the record of a collection keeps the scenes that its version cannot hold, by their paths.
SCENES = "scenes"


class MadeScene(NamedTuple):
    """What a mirror says: its scene, if it is one; what is left out of it, and why, in words."""

    scene: dict[str, Any] | None
    left: dict[str, list[Any]]
    losses: tuple[str, ...]


def scene_of(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the scene of a group, with what its record keeps of one; empty if there is none."""
    found, kept = ngff_namespace(attributes).get("scene"), kept_scenes(attributes).get("")
    if not isinstance(found, Mapping) or not isinstance(kept, Mapping):
        return found if isinstance(found, Mapping) else kept if isinstance(kept, Mapping) else {}
    more = {key: [*listed(found, key), *listed(kept, key)] for key in (SYSTEMS, TRANSFORMS)}
    return {**found, **{key: values for key, values in more.items() if values}}


def kept_scenes(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what the record of a collection keeps of scenes, by their paths below it."""
    record = attributes.get("chunkscale")
    found = record.get(SCENES) if isinstance(record, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def mirrored_scene(scene: Mapping[str, Any], made: Collection[str]) -> MadeScene:
    """Return the scene of the images that were made.

    Images lie in the physical space that they had, so all that is said of it stays as it is.

    Parameters
    ----------
    scene : mapping
    made : collection of str
        Paths of the images.

    Examples
    --------
    >>> ends = {"input": {"path": "a", "name": "physical"}, "output": {"path": "b", "name": "um"}}
    >>> scene = {"coordinateTransformations": [{"type": "identity", **ends}]}
    >>> mirrored_scene(scene, {"a", "b"}).scene == scene
    True
    >>> mirrored_scene(scene, {"a"}).scene is None
    True
    """
    systems: list[Any] = []
    transforms: list[Any] = []
    left: dict[str, list[Any]] = {SYSTEMS: [], TRANSFORMS: []}
    losses: list[str] = []
    for system in listed(scene, SYSTEMS):
        fault = system_fault(system)
        if not fault and system["name"] in [s["name"] for s in systems]:
            fault = "another one has that name"
        if fault:
            left[SYSTEMS].append(system)
            losses.append(f"the system {system_text(system)}: {fault}")
        else:
            systems.append(system)
    names = [system["name"] for system in systems]
    for transform in listed(scene, TRANSFORMS):
        if fault := _fault(transform, names, made):
            left[TRANSFORMS].append(transform)
            losses.append(f"the transformation {described(transform)}: {fault}")
        else:
            transforms.append(transform)
    if set(map(plain_path, scene_paths(transforms))) != set(made):
        left = {key: listed(scene, key) for key in (SYSTEMS, TRANSFORMS)}
        found = [*map(described, left[TRANSFORMS])]
        found += [f"the system {system_text(s)}" for s in left[SYSTEMS]]
        text = "it would not list all images that were made"
        return MadeScene(None, left, (*losses, f"the scene ({', '.join(found)}): {text}"))
    kept = {**scene, SYSTEMS: systems, TRANSFORMS: transforms}
    if SYSTEMS not in scene:
        del kept[SYSTEMS]
    return MadeScene(kept, {k: v for k, v in left.items() if v}, tuple(losses))


def scene_notices(uri: str, losses: Iterable[str]) -> Iterator[Notice]:
    """Say what the mirror of a scene of version 0.6 will not have."""
    ending = f"it stays in the record of the output (chunkscale.{SCENES})"
    for loss in losses:
        yield Notice("lost", f"{uri!r}: left out is {loss}; {ending}")


def _fault(transform: Any, names: Collection[str], made: Collection[str]) -> str:
    """Return why a transformation of a scene cannot be written; nothing if it can."""
    if depth(transform) > DEEPEST:
        return f"it is nested deeper than {DEEPEST}"
    if fault := transform_fault(transform):
        return fault
    if paths := list(dict.fromkeys(stored_arrays(transform))):
        return f"it needs the array {some([repr(p) for p in paths], 3)}, which is not copied"
    for key in ("input", "output"):
        end = transform.get(key)
        name = end.get("name") if isinstance(end, Mapping) else None
        if not isinstance(end, Mapping) or not isinstance(name, str) or end.keys() - _END:
            return f"its {key} is not a reference to a coordinate system"
        path = end.get("path", "")
        if not isinstance(path, str) or (plain_path(path) and plain_path(path) not in made):
            return f"its {key} lies in {path!r}, which was not made"
        if not plain_path(path) and name not in names:
            return f"its {key} {name!r} is not a coordinate system of the scene"
    return ""


_END = {"name", "path"}


def say_for(version: str, say: Callable[[Notice], object], notice: Notice) -> None:
    """Pass a notice on; that images lie in a scene only where the version cannot hold one."""
    if notice.kind != "scene":
        say(notice)
    elif not holds_systems(version):
        say(Notice("lost", notice.text))
