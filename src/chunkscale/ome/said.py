"""What the metadata of an image say of coordinate systems, wherever their version has it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chunkscale.geometry.grid import Axis
from chunkscale.ome.axes import intrinsic_system
from chunkscale.ome.entries import SYSTEMS, TRANSFORMS, mappings
from chunkscale.ome.lost import leads_on
from chunkscale.ome.systems import listed
from chunkscale.ome.versions import ngff_namespace, uses_systems, version_of

#: What the voxels' own system is called where nothing says it.
PHYSICAL = "physical"

#: Where the record of an output keeps what its version cannot hold, and there what was left out.
RECORD, LEFT, INTRINSIC = "coordinates", "left", "intrinsic"


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What metadata, or the record beside them, say; nothing of it is checked.

    Parameters
    ----------
    intrinsic : str
        The system that the voxels lie in, which is among `systems`.
    named : bool
        Whether it is the metadata that call it so.
    systems, transforms : sequence
        Whatever is listed.
    left : sequence
        What was left out of what it was made from.
    loss : str
        What of the record does not fit the image any more, in words.
    """

    intrinsic: str = PHYSICAL
    named: bool = False
    systems: Sequence[Any] = ()
    transforms: Sequence[Any] = ()
    left: Sequence[Any] = ()
    loss: str = ""


def said_of(attributes: Mapping[str, Any], axes: Sequence[Axis]) -> Said:
    """Return what the attributes of an image on these axes say."""
    ngff = ngff_namespace(attributes)
    record = _record(attributes)
    left, loss = listed(record, LEFT), ""
    entries = mappings(ngff.get("multiscales"))
    if not entries:
        return Said(systems=[{"name": PHYSICAL}], left=left)
    entry, version = entries[0], version_of(attributes, entries[0])
    holders = [ngff] if ngff is attributes else [ngff, attributes]
    beside = {key: [x for h in holders for x in listed(h, key)] for key in (SYSTEMS, TRANSFORMS)}
    systems = [*listed(entry, SYSTEMS), *beside[SYSTEMS]]
    if uses_systems(entry, version):
        mine = intrinsic_system(entry)
        transforms = [*listed(entry, TRANSFORMS), *beside[TRANSFORMS]]
    else:
        mine = _own_of_draft(entry)
        transforms = [*leads_on(entry, version), *beside[TRANSFORMS]]
        if not mine and isinstance(name := record.get(INTRINSIC), str):
            kept = listed(record, SYSTEMS)
            found = next((s for s in mappings(kept) if s.get("name") == name), {})
            if _spelled(found.get("axes")) == [(axis.name, axis.unit) for axis in axes]:
                mine, systems = found, [*kept, *systems]
                transforms = [*listed(record, TRANSFORMS), *transforms]
            else:
                left = [*left, *kept, *listed(record, TRANSFORMS)]
                loss = "what its record keeps of coordinate systems: its axes are others now"
    own = mine.get("name")
    named = isinstance(own, str) and own != ""
    if not named:
        own = unused(PHYSICAL, [s.get("name") for s in mappings(systems)])
        systems = [{**mine, "name": own}, *(s for s in systems if s != mine)]
    return Said(
        intrinsic=str(own),
        named=named,
        systems=systems,
        transforms=transforms,
        left=left,
        loss=loss,
    )


def _own_of_draft(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the system beside the axes of 0.4 that voxels lie in; nothing if that is not clear."""
    listed_there = [t for d in mappings(entry.get("datasets")) for t in mappings(d.get(TRANSFORMS))]
    outputs = [t["output"] for t in listed_there if "output" in t]
    names = [out.get("name") if isinstance(out, Mapping) else out for out in outputs]
    known = mappings(entry.get(SYSTEMS))
    named = [s for s in known if names and all(s.get("name") == name for name in names)]
    same = named or [s for s in known if s.get("axes") == entry.get("axes")]
    return same[0] if len(same) == 1 else {}


def _record(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    record = attributes.get("chunkscale")
    found = record.get(RECORD) if isinstance(record, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _spelled(axes: object) -> list[tuple[Any, Any]]:
    return [(axis.get("name"), axis.get("unit")) for axis in mappings(axes)]


def unused(name: str, taken: Collection[Any]) -> str:
    """Return a name that is not taken."""
    while name in taken:
        name += "_"
    return name
