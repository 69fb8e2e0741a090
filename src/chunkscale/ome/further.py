"""Coordinate systems beyond the voxels' own: what an output says of them, and what it cannot.

An output lies in the physical space of its source, so what leads on from there stays valid, word
for word. What counts voxels is led from that space instead. Versions before 0.6 have no place for
either; the record of an output keeps it, from where it comes back.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chunkscale.errors import Notice
from chunkscale.geometry.grid import Axis
from chunkscale.geometry.units import METRES, Length
from chunkscale.ome.entries import DEEPEST, SYSTEMS, TRANSFORMS, depth, plain_path
from chunkscale.ome.lost import described, system_text
from chunkscale.ome.model import Dataset, Multiscale
from chunkscale.ome.read import describe
from chunkscale.ome.said import INTRINSIC, LEFT, PHYSICAL, Said, said_of, unused
from chunkscale.ome.systems import stored_arrays, system_fault, transform_fault
from chunkscale.ome.transforms import is_usable
from chunkscale.ome.versions import holds_systems
from chunkscale.text import some


@dataclass(frozen=True, slots=True, kw_only=True)
class Coordinates:
    """What an image says of coordinate systems.

    Parameters
    ----------
    intrinsic : str
        The system that its voxels lie in.
    systems : tuple of mapping
        All of them in their order; the axes of the intrinsic one are those of the image.
    transforms : tuple of mapping
        What leads on from there.
    left : tuple
        Systems and transformations that cannot be written, as they were.
    losses, changes : tuple of str
        Which these are and why; and what is written otherwise than it was. In words.
    """

    intrinsic: str = PHYSICAL
    systems: tuple[Mapping[str, Any], ...] = ({"name": PHYSICAL},)
    transforms: tuple[Mapping[str, Any], ...] = ()
    left: tuple[Any, ...] = ()
    losses: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()

    def with_axes(self, axes: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return the systems, the intrinsic one with the axes of an image."""
        return [
            {**s, "axes": list(axes)} if s["name"] == self.intrinsic else dict(s)
            for s in self.systems
        ]


def coordinates(
    attributes: Mapping[str, Any],
    source: Sequence[Axis],
    target: Sequence[Axis],
    *,
    labels: Collection[str] | None = None,
    redefined: bool = False,
) -> Coordinates:
    """Return what an image made from another one says of coordinate systems.

    Parameters
    ----------
    attributes : mapping
        All attributes of the source's group, in any version.
    source, target : sequence of Axis
        Axes of both; units may differ.
    labels : collection of str, optional
        Paths of label images that lie beside the output; by default those that are named do.
    redefined : bool
        Whether voxel sizes were given, so that the source's voxels lie elsewhere than it says.

    Examples
    --------
    >>> axes = (Axis(name="y"), Axis(name="x"))
    >>> plain = [{"name": "y", "type": "space"}, {"name": "x", "type": "space"}]
    >>> own, world = {"name": "physical", "axes": plain}, {"name": "world", "axes": plain}
    >>> lead = {"type": "identity", "input": {"path": "0"}, "output": {"name": "physical"}}
    >>> made = coordinates({"ome": {"version": "0.6", "multiscales": [{
    ...     "coordinateSystems": [own, world],
    ...     "datasets": [{"path": "0", "coordinateTransformations": [lead]}],
    ... }]}}, axes, axes)
    >>> [system["name"] for system in made.systems]
    ['physical', 'world']
    """
    said = said_of(attributes, source)
    sorting = _Sorting(said, attributes, labels, redefined)
    for system in said.systems:
        sorting.add_system(system)
    for transform in said.transforms:
        sorting.add_transform(transform)
    made = Coordinates(
        intrinsic=said.intrinsic,
        systems=tuple(sorting.systems.values()),
        transforms=tuple(sorting.transforms),
        left=(*said.left, *sorting.left),
        losses=(*([said.loss] if said.loss else []), *sorting.losses),
        changes=tuple(sorting.changes),
    )
    factors = [_factor(a, b) for a, b in zip(source, target, strict=True)]
    if set(factors) == {1.0} or (len(made.systems) == 1 and not said.named):
        return made
    return _in_units(made, target, factors)


def coordinate_notices(made: Coordinates, version: str) -> tuple[Notice, ...]:
    """Say what an output of a version will not have, or has otherwise."""
    changes = tuple(Notice("converted", change) for change in made.changes)
    if holds_systems(version):
        ending = "it stays in the record of the output (chunkscale.coordinates)"
        lost = (Notice("lost", f"left out is {loss}; {ending}") for loss in made.losses)
        return (*lost, *changes)
    found = further_text(made)
    if not found:
        return ()
    text = (
        "further coordinate systems and transformations are left out, because OME-Zarr 0.4 and "
        f"0.5 cannot store them: {found}; they stay in the record of the output and are restored "
        "with OME-Zarr 0.6, for it lies in the coordinates that its source's voxels have"
    )
    return (Notice("lost", text), *changes)


def further_text(made: Coordinates) -> str:
    """Name all that is said of coordinates beyond the voxels' own; nothing if nothing is."""
    names = (s["name"] for s in made.systems if s["name"] != made.intrinsic)
    found = [*map(described, made.transforms), *(f"the system {name!r}" for name in names)]
    return ", ".join((*found, *made.losses))


def coordinate_record(
    made: Coordinates, version: str, axes: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return what the record of an output keeps of coordinate systems; empty if it has them all."""
    left = {LEFT: list(made.left)} if made.left else {}
    names = [{k: v for k, v in s.items() if k != "axes"} for s in made.systems]
    plain = names == [{"name": PHYSICAL}] and not made.transforms
    if holds_systems(version) or plain:
        return left
    return {
        INTRINSIC: made.intrinsic,
        SYSTEMS: made.with_axes(axes),
        TRANSFORMS: list(made.transforms),
        **left,
    }


#: An end of a transformation: a reference as it is written, or a level whose voxels it counts.
_End = Mapping[str, Any] | Dataset


class _Sorting:
    """Sort what a source says into what can be written, and what cannot, and why."""

    def __init__(
        self,
        said: Said,
        attributes: Mapping[str, Any],
        labels: Collection[str] | None,
        redefined: bool,
    ) -> None:
        self.intrinsic = said.intrinsic
        self.attributes, self.labels, self.redefined = attributes, labels, redefined
        self.systems: dict[str, Mapping[str, Any]] = {}
        self.transforms: list[Mapping[str, Any]] = []
        self.left: list[Any] = []
        self.losses: list[str] = []
        self.changes: list[str] = []
        self._datasets: dict[str, Dataset] | None = None

    def add_system(self, system: Any) -> None:
        own = isinstance(system, Mapping) and system.get("name") == self.intrinsic
        fault = "" if own else system_fault(system)
        if fault or system["name"] in self.systems:
            fault = fault or "another one has that name"
            self._lose(system, f"the system {system_text(system)}: {fault}")
        else:
            self.systems[system["name"]] = system

    def add_transform(self, transform: Any) -> None:
        what = f"the transformation {described(transform)}"
        nested = depth(transform) > DEEPEST
        fault = f"it is nested deeper than {DEEPEST}" if nested else transform_fault(transform)
        fault = fault or self._missing(transform)
        if fault:
            self._lose(transform, f"{what}: {fault}")
            return
        begin, end = (self._end(transform.get(key)) for key in ("input", "output"))
        if isinstance(begin, str) or isinstance(end, str):
            key, why = ("input", begin) if isinstance(begin, str) else ("output", end)
            self._lose(transform, f"{what}: its {key} {why}")
            return
        ends = (begin, end)
        counts = any(isinstance(e, Dataset) for e in ends)
        if counts and all(map(self._is_own, ends)):
            text = "it leads from voxels to where they lie, which the levels say themselves"
            self._lose(transform, f"{what}: {text}")
        elif self.redefined and any(map(self._is_own, ends)):
            text = "voxel sizes were given, so the voxels lie elsewhere than it takes them to"
            self._lose(transform, f"{what}: {text}")
        elif counts:
            self.transforms.append(self._from_space(transform, begin, end))
            text = f"which counts voxels, is led by way of the system {self.intrinsic!r} instead"
            self.changes.append(f"{what}, {text}")
        else:
            self.transforms.append({**transform, "input": begin, "output": end})

    def _lose(self, value: Any, why: str) -> None:
        self.left.append(value)
        self.losses.append(why)

    def _is_own(self, end: _End) -> bool:
        """Whether an end is the voxels' own system, or a level of it."""
        if isinstance(end, Mapping):
            return end.get("name") == self.intrinsic and not end.get("path")
        return isinstance(end, Dataset)

    def _missing(self, transform: Mapping[str, Any]) -> str:
        """Return which arrays a transformation needs: they lie outside of the levels."""
        paths = list(dict.fromkeys(stored_arrays(transform)))
        if not paths:
            return ""
        return f"it needs the array {some([repr(p) for p in paths], 3)}, which is not copied"

    def _end(self, value: Any) -> Mapping[str, Any] | Dataset | str:
        """Return an end as it is written, the grid of a level, or what is wrong with it."""
        end = {"name": value} if isinstance(value, str) else value
        if not isinstance(end, Mapping):
            return "is not said"
        name, path = end.get("name"), end.get("path")
        if isinstance(path, str) and plain_path(path):
            return self._far_end(end, plain_path(path))
        if isinstance(name, str) and name in self.systems:
            # Drafts have texts; a path that leads nowhere else is kept.
            return end
        if isinstance(name, str) and plain_path(name) in self.datasets:
            return self._level(plain_path(name))
        return f"{system_text(value)} is not a coordinate system of the image"

    def _far_end(self, end: Mapping[str, Any], path: str) -> Mapping[str, Any] | Dataset | str:
        if path in self.datasets:
            return self._level(path)
        is_label = path.startswith("labels/") and isinstance(end.get("name"), str)
        if is_label and (self.labels is None or path in self.labels):
            return end
        return f"lies in {path!r}, which the output does not have"

    def _level(self, path: str) -> Dataset | str:
        dataset = self.datasets[path]
        numbers = (*dataset.voxel_size, *dataset.translation)
        sizes = dataset.voxel_size
        if not sizes or not all(map(is_usable, sizes)) or not all(map(math.isfinite, numbers)):
            return f"is the array {path!r}, whose voxel size is not known"
        return dataset

    @property
    def datasets(self) -> Mapping[str, Dataset]:
        """The levels by their paths."""
        if self._datasets is None:
            image = describe(self.attributes)
            levels = image.datasets if isinstance(image, Multiscale) else ()
            self._datasets = {plain_path(dataset.path): dataset for dataset in levels}
        return self._datasets

    def _from_space(self, transform: Mapping[str, Any], begin: _End, end: _End) -> dict[str, Any]:
        """Return a transformation of voxels as one of the space that they lie in."""
        inner = {k: v for k, v in transform.items() if k not in ("input", "output", "name")}
        alone = inner["type"] == "sequence" and inner.keys() == {"type", "transformations"}
        steps = list(inner["transformations"]) if alone else [inner]
        if isinstance(begin, Dataset):
            pairs = list(zip(begin.voxel_size, begin.translation, strict=True))
            steps = [*_moves([1 / s for s, _ in pairs], [-t / s for s, t in pairs]), *steps]
        if isinstance(end, Dataset):
            steps += _moves(list(end.voxel_size), list(end.translation))
        own = {"name": self.intrinsic}
        return {
            "type": "sequence",
            **({"name": transform["name"]} if "name" in transform else {}),
            "input": own if isinstance(begin, Dataset) else begin,
            "output": own if isinstance(end, Dataset) else end,
            "transformations": steps,
        }


def _moves(scale: list[float], shift: list[float]) -> list[dict[str, Any]]:
    return [
        {"type": "scale", "scale": scale},
        {"type": "translation", "translation": [t + 0.0 for t in shift]},  # no -0.0
    ]


def _factor(source: Axis, target: Axis) -> float:
    """Return how many units of `source` make one of `target`."""
    if source.unit == target.unit or source.unit not in METRES or target.unit not in METRES:
        return 1.0
    return Length(1.0, target.unit).in_unit(source.unit)


def _in_units(made: Coordinates, target: Sequence[Axis], factors: list[float]) -> Coordinates:
    """Keep the system of the source's units, and lead to it from one of the target's."""
    units = dict.fromkeys(axis.unit for axis in target if axis.kind == "space" and axis.unit)
    name = unused(f"{made.intrinsic} ({', '.join(units)})", {s["name"] for s in made.systems})
    ends = {"input": {"name": name}, "output": {"name": made.intrinsic}}
    lead = {"type": "scale", "scale": factors, **ends}
    text = f"the voxels lie in the system {name!r}, because the units are not those of the source"
    return Coordinates(
        intrinsic=name,
        systems=({"name": name}, *made.systems),
        transforms=(lead, *made.transforms),
        left=made.left,
        losses=made.losses,
        changes=(*made.changes, text),
    )
