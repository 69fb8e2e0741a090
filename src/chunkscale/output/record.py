"""What an output says of itself: its *recipe*, its layout and its state.

An output that is not finished says so in its attributes, next to what it is
made of: whoever continues it must follow the very same.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeGuard

from chunkscale._version import __version__
from chunkscale.errors import DestinationError
from chunkscale.ome.model import Multiscale
from chunkscale.ome.read import describe
from chunkscale.ome.said import RECORD as COORDINATES
from chunkscale.output.provenance import published
from chunkscale.plan.model import ResamplePlan
from chunkscale.sources.base import Source
from chunkscale.text import shown


def recipe(plan: ResamplePlan, source: Source) -> dict[str, Any]:
    """Return all that the bytes of an output depend on, as JSON values.

    Two runs with the same recipe write the same objects, region by region.
    """
    grid, target = plan.source_grid, plan.target_grid
    said = {f"source_{option}": value for option, value in source.said.items()}
    return {
        "version": __version__,
        "source": plan.source.title,
        "source_array": plan.source.path,
        "source_part": dict(source.part),
        **said,
        "source_shape": list(plan.source.shape),
        "source_dtype": plan.source.dtype,
        "source_metadata": source.fingerprint(),
        "source_voxel_size": list(grid.voxel_size),
        "source_translation": list(grid.translation),
        "axes": [[axis.name, axis.kind, axis.unit] for axis in target.axes],
        "shape": list(target.shape),
        "voxel_size": list(target.voxel_size),
        "translation": list(target.translation),
        "method": plan.method,
        "antialias": plan.antialias,
        "outside": "edge" if plan.outside is None else str(plan.outside),
        "pyramid": plan.pyramid,
        "downsample": plan.downsample,
        "ome_zarr_version": plan.ngff_version,
        "codec": plan.codec,
        "checksum": plan.checksum,
        "levels": [level.path for level in plan.levels],
        "chunk": [list(level.chunk) for level in plan.levels],
        "shard": [list(level.shard) if level.shard else None for level in plan.levels],
        "regions": [list(run.region_shape) for run in plan.passes],
    }


#: What a resumed run takes over, unless its caller insists.
LAYOUT_KEYS = ("chunk", "shard", "regions", "levels")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredLayout:
    """How an output is stored that is to be continued.

    Parameters
    ----------
    chunk : tuple of int
        Of level 0.
    shards : tuple of tuple of int or None
        By level.
    levels : int
    regions : tuple of tuple of int
        Region shape by pass.
    memory : int
        What the plan promised.
    """

    chunk: tuple[int, ...]
    shards: tuple[tuple[int, ...] | None, ...]
    levels: int
    regions: tuple[tuple[int, ...], ...]
    memory: int


def layout_fault(record: object) -> str:
    """Say what is wrong with the layout that a record states; nothing if it can be followed."""
    if not isinstance(record, Mapping):
        return "it has no record"
    for name in LAYOUT_KEYS:
        if not isinstance(record.get(name), list) or not record[name]:
            return f"{name!r} is {shown(record.get(name))}"
    levels, chunks, shards = record["levels"], record["chunk"], record["shard"]
    axes = len(chunks[0]) if isinstance(chunks[0], list) else 0
    for name, shapes in (("chunk", chunks), ("shard", shards), ("regions", record["regions"])):
        for shape in shapes:
            if not (_is_shape(shape, axes) or (shape is None and name == "shard")):
                return f"{name!r} has {shown(shape)}"
    if not len(levels) == len(chunks) == len(shards) <= _MOST_LEVELS:
        return "its levels, chunks and shards differ in number"
    units = [shard or chunk for shard, chunk in zip(shards, chunks, strict=True)]
    if levels != [str(index) for index in range(len(levels))]:
        return f"'levels' is {shown(levels)}"
    for unit, chunk in zip(units, chunks, strict=True):
        if any(u % c for u, c in zip(unit, chunk, strict=True)):
            return f"the shard {unit} is not made of chunks {chunk}"
    if type(record.get("memory", 0)) is not int or record.get("memory", 0) < 0:
        return f"'memory' is {shown(record['memory'])}"
    return ""


#: Of one axis after so many halvings nothing is left.
_MOST_LEVELS = 64


def _is_shape(value: object, axes: int) -> bool:
    return (
        isinstance(value, list)
        and len(value) == axes > 0
        and all(type(n) is int and 0 < n < 2**62 for n in value)
    )


def stored_layout(found: Found) -> StoredLayout:
    """Return the layout of an output that is to be continued."""
    made = found.recipe
    return StoredLayout(
        chunk=tuple(made["chunk"][0]),
        shards=tuple(tuple(shard) if shard else None for shard in made["shard"]),
        levels=len(made["levels"]),
        regions=tuple(map(tuple, made["regions"])),
        memory=found.memory,
    )


def check_same(
    target: str,
    found: Found,
    wanted: Mapping[str, Any],
    *,
    asked: Sequence[str] = LAYOUT_KEYS,
) -> None:
    """Refuse to continue an output with another recipe.

    Parameters
    ----------
    target : str
    found : Found
    wanted : mapping
        The recipe of the run that wants to.
    asked : sequence of str
        The parts of the layout that count; the others will be taken over.

    Raises
    ------
    DestinationError
        Naming everything that differs, with both values.
    """
    skipped = set(LAYOUT_KEYS) - set(asked)
    there, now = dict(found.recipe), dict(wanted)
    if "source_hash" in there:
        now = published(now)
        hashes = [made.pop("source_hash", "") for made in (there, now)]
        if hashes[0] != hashes[1] and there.get("source") == now["source"]:
            now["source"] = f"{now['source']} in another folder"
    if "regions" in skipped:
        # Those of the other levels follow from the regions.
        for made in (there, now):
            made["chunk"], made["shard"] = made["chunk"][0], made["shard"][0]
    differences = [
        f"{name} was {shown(there.get(name))}, now {shown(now.get(name))}"
        for name in {**there, **now}
        if name not in skipped and there.get(name) != now.get(name)
    ]
    if differences:
        raise DestinationError(
            f"the output {target!r} was started with other options: {'; '.join(differences)}. "
            "Repeat the original command, or replace it with overwrite=True (--overwrite)"
        )


#: What the record of an output says beside its recipe.
STATE_KEYS = ("state", "run", "memory", "objects", "bytes", "notices", "labels", COORDINATES)


def unfinished_attributes(plan: ResamplePlan, made: Mapping[str, Any]) -> dict[str, Any]:
    state = {"run": uuid.uuid4().hex, "memory": plan.memory.total, "state": "unfinished"}
    return {"chunkscale": {**made, **state}}


def is_unfinished(record: object) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(record, Mapping) and record.get("state") == "unfinished"


def level_paths(attributes: Mapping[str, Any]) -> list[str]:
    """Return the paths of the levels of an image, or of an unfinished one."""
    record = attributes.get("chunkscale")
    if is_unfinished(record):
        levels = record.get("levels")
        return [str(path) for path in levels] if isinstance(levels, list) else []
    found = describe(attributes)
    return [d.path for d in found.datasets] if isinstance(found, Multiscale) else []


def zarr_format_of(plan: ResamplePlan) -> Literal[2, 3]:
    return 2 if plan.ngff_version == "0.4" else 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An output of this package that is there already.

    Parameters
    ----------
    recipe : dict
        What it is made of; see `recipe`.
    finished : bool
    memory : int
        What the plan of the run promised that began it; 0 if it is finished.
    objects : dict
        Stored objects by level, as counted when it was finished.
    sizes : dict
        Their bytes by level.
    """

    recipe: dict[str, Any]
    finished: bool
    memory: int
    objects: dict[str, int]
    sizes: dict[str, int]
