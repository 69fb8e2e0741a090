"""Plans, images and runs as text, tables and JSON values: formatting only."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from chunkscale.grid import VoxelGrid, unusual

if TYPE_CHECKING:
    from chunkscale.api import Resampled
    from chunkscale.execute import RunTimes
    from chunkscale.image import Image
    from chunkscale.plan import ResamplePlan

__all__ = [
    "human_bytes",
    "image_dict",
    "image_text",
    "plan_dict",
    "plan_html",
    "plan_summary",
    "plan_text",
    "run_text",
]


def human_bytes(number: float) -> str:
    """Return a size as people read it.

    Examples
    --------
    >>> human_bytes(999), human_bytes(3 * 2**20), human_bytes(1.5 * 2**40)
    ('999 B', '3.0 MiB', '1.5 TiB')
    """
    for unit in ("B", "KiB", "MiB", "GiB", "TiB", "PiB"):
        if number < 1024 or unit == "PiB":
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    raise AssertionError


def count(number: int, noun: str, plural: str = "s") -> str:
    """Return a number with its noun.

    Examples
    --------
    >>> count(1, "region"), count(2, "pass", "es")
    ('1 region', '2 passes')
    """
    return f"{number} {noun}{plural if number != 1 else ''}"


def times(values: Iterable[float] | None) -> str:
    """Return numbers as ``2 x 3 x 4``.

    Examples
    --------
    >>> times((86, 80, 79)), times((1.0, 0.202))
    ('86 x 80 x 79', '1 x 0.202')
    """
    return (
        "-"
        if values is None
        else " x ".join(f"{v:.6g}" if isinstance(v, float) else str(v) for v in values)
    )


def _units(grid: VoxelGrid) -> str:
    units = [grid.axes[i].unit or "" for i in grid.spatial]
    if len(set(units)) == 1:
        return units[0] or "no unit"
    return ", ".join(f"{grid.axes[i].name}: {grid.axes[i].unit or 'no unit'}" for i in grid.spatial)


def _axes(grid: VoxelGrid) -> str:
    return "".join(a.name for a in grid.axes) if isinstance(grid.names, str) else str(grid.names)


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows as aligned lines, the first one being the head."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  " + "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _level_rows(levels: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Return the table of levels, as `plan_dict` and `image_dict` describe them."""
    columns = ["shape", "voxel_size", "translation", "chunk", "shard"]
    sized = "bytes" in levels[0]
    rows = [["level", *(name.replace("_", " ") for name in columns), *["bytes"] * sized]]
    for level in levels:
        cells = [level["path"], *(times(level[name]) for name in columns)]
        rows.append(cells + ([human_bytes(level["bytes"])] if sized else []))
    return rows


def _plan_rows(plan: ResamplePlan) -> list[tuple[str, str]]:
    source, target, memory = plan.source_grid, plan.target_grid, plan.memory
    how = "nearest" if plan.method == "nearest" else "linear" + ", antialiased" * plan.antialias
    return [
        ("source", f"{plan.source.uri} ({plan.source.path})"),
        ("", f"{_axes(source)} {times(source.shape)} {plan.dtype}"),
        ("", f"voxel size {times(source.voxel_size)} {_units(source)}"),
        ("target", f"{_axes(target)} {times(target.shape)} {plan.dtype}, {how}"),
        ("", f"voxel size {times(target.voxel_size)} {_units(target)}"),
        ("", f"translation {times(target.translation)}"),
        ("format", f"OME-Zarr {plan.ngff_version}, {plan.codec}"),
        (
            "reads",
            f"{human_bytes(plan.bytes_read)} decoded at most "
            f"({plan.read_amplification:.2f} times the source)",
        ),
        ("writes", f"{human_bytes(plan.bytes_written)} before compression, all levels"),
        (
            "regions",
            f"{plan.region_count} in {count(len(plan.passes), 'pass', 'es')}, "
            f"{times(map(min, plan.passes[0].region_shape, target.shape))} voxels each in the "
            "first",
        ),
        (
            "memory",
            f"{human_bytes(memory.total)} at most = {human_bytes(memory.base)} base + "
            f"{human_bytes(memory.buffers)} chunk buffers + "
            f"{count(memory.workers, 'worker')} x {human_bytes(memory.per_worker)}",
        ),
        ("device", _device_text(plan)),
    ]


def _device_text(plan: ResamplePlan) -> str:
    if plan.device_memory is None:
        return "CPU"
    use = plan.device_memory
    return (
        f"GPU, {human_bytes(use.total)} of its memory at most = {human_bytes(use.base)} for the "
        f"driver + {count(use.lanes, 'region')} x {human_bytes(use.per_lane)}"
    )


def plan_text(plan: ResamplePlan) -> str:
    """Return a plan for the terminal."""
    lines = [f"{name:<9}{text}" for name, text in _plan_rows(plan)]
    lines += table(_level_rows(plan_dict(plan)["levels"]))
    lines += [f"warning: {text}" for text in plan.warnings]
    return "\n".join(lines)


def plan_summary(plan: ResamplePlan, cluster: object = None) -> str:
    """Return what a user wants to know before a run, in two or three lines."""
    target = plan.target_grid
    where = "" if cluster is None else f" in each worker process\ncluster {cluster}"
    return (
        f"{times(plan.source_grid.shape)} voxels of {times(plan.source_grid.voxel_size)} -> "
        f"{times(target.shape)} of {times(target.voxel_size)} {_units(target)}\n"
        f"{human_bytes(plan.bytes_written)} in "
        f"{count(len(plan.levels), 'level')} before compression, "
        f"{count(plan.region_count, 'region')}, at most "
        f"{human_bytes(plan.memory.total)} of memory{where}"
    )


def text_html(text: str) -> str:
    """Return a text for a notebook as a terminal shows it."""
    return f"<pre>{html.escape(text)}</pre>"


def plan_html(plan: ResamplePlan) -> str:
    """Return a plan for a notebook."""
    head = "".join(
        f"<tr><th style='text-align:left'>{name}</th><td style='text-align:left'>"
        f"{html.escape(text)}</td></tr>"
        for name, text in _plan_rows(plan)
    )
    first, *rest = _level_rows(plan_dict(plan)["levels"])
    titles = "".join(f"<th>{cell}</th>" for cell in first)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(c)}</td>" for c in row) + "</tr>" for row in rest
    )
    notes = "".join(f"<p><b>warning:</b> {html.escape(str(text))}</p>" for text in plan.warnings)
    return (
        f"<table>{head}</table><table><thead><tr>{titles}</tr></thead>"
        f"<tbody>{body}</tbody></table>{notes}"
    )


def grid_dict(grid: VoxelGrid) -> dict[str, Any]:
    """Return a grid as JSON values."""
    return {
        "axes": [{"name": a.name, "type": a.kind, "unit": a.unit} for a in grid.axes],
        "shape": list(grid.shape),
        "voxel_size": list(grid.voxel_size),
        "translation": list(grid.translation),
    }


def plan_dict(plan: ResamplePlan) -> dict[str, Any]:
    """Return a plan as JSON values."""
    itemsize = plan.source.itemsize
    return {
        "source": {
            "path": plan.source.uri,
            "array": plan.source.path,
            "dtype": plan.dtype,
            "bytes": plan.source.nbytes,
            **grid_dict(plan.source_grid),
        },
        "target": grid_dict(plan.target_grid),
        "method": plan.method,
        "antialias": plan.antialias,
        "outside": "edge" if plan.outside is None else str(plan.outside),
        "ome_zarr_version": plan.ngff_version,
        "codec": plan.codec,
        "device": plan.device,
        "device_memory": None
        if plan.device_memory is None
        else {**asdict(plan.device_memory), "total": plan.device_memory.total},
        "levels": [
            {
                "path": level.path,
                "shape": list(level.shape),
                "voxel_size": list(level.grid.voxel_size),
                "translation": list(level.grid.translation),
                "chunk": list(level.chunk),
                "shard": None if level.shard is None else list(level.shard),
                "bytes": level.grid.size * itemsize,
            }
            for level in plan.levels
        ],
        "passes": [
            {
                "reads_level": run.reads,
                "levels": list(range(run.first, run.last + 1)),
                "regions": run.region_count,
                "region_shape": list(run.region_shape),
            }
            for run in plan.passes
        ],
        "regions": plan.region_count,
        "bytes_read": plan.bytes_read,
        "read_amplification": plan.read_amplification,
        "bytes_written": plan.bytes_written,
        "workers": plan.workers,
        "memory": {
            "base": plan.memory.base,
            "chunk_buffers": plan.memory.buffers,
            "per_worker": plan.memory.per_worker,
            "total": plan.memory.total,
        },
        "warnings": [str(notice) for notice in plan.warnings],
    }


def image_dict(image: Image) -> dict[str, Any]:
    """Return what there is to know of an image as JSON values."""
    array, scale = image.array, image.multiscale
    levels = []
    for index, dataset in enumerate(scale.datasets):
        stored, grid = image.level(index), image.level_grid(index)
        levels.append(
            {
                "path": dataset.path,
                "shape": list(stored.shape),
                "voxel_size": list(grid.voxel_size),
                "translation": list(grid.translation),
                "chunk": list(stored.chunk),
                "shard": None if stored.shard is None else list(stored.shard),
            }
        )
    return {
        "path": image.uri,
        "ome_zarr_version": scale.version,
        "zarr_format": array.zarr_format,
        "name": scale.name,
        **grid_dict(image.grid),
        "dtype": array.dtype.name,
        "bytes": image.grid.size * array.dtype.itemsize,
        "codec": array.codec,
        "is_label": image.is_label,
        "levels": levels,
        "channels": image.channels,
        "labels": list(image.labels),
        "warnings": [text for _, text in unusual(image.grid)],
    }


def image_text(image: Image) -> str:
    """Return an image for the terminal."""
    return info_text(image_dict(image))


def info_text(facts: dict[str, Any]) -> str:
    """Return the facts of `chunkscale.info` for the terminal."""
    if "images" in facts:
        listing = [f"  {path}" for path in facts["images"]] or ["  (none found)"]
        return "\n".join([f"{facts['path']}: a collection of images", *listing])
    names = [axis["name"] for axis in facts["axes"]]
    units = {axis["name"]: axis["unit"] for axis in facts["axes"]}
    sizes = ", ".join(
        f"{name} {size:.6g}{' ' + units[name] if units[name] else ''}"
        for name, size in zip(names, facts["voxel_size"], strict=True)
    )
    kind = "labels" if facts["is_label"] else "image"
    lines = [
        f"path        {facts['path']}",
        f"format      OME-Zarr {facts['ome_zarr_version']} (zarr {facts['zarr_format']}), {kind}",
        f"axes        {', '.join(names)}",
        f"shape       {times(facts['shape'])} {facts['dtype']}, {human_bytes(facts['bytes'])}",
        f"voxel size  {sizes}",
        f"codec       {facts['codec']}",
    ]
    if facts["name"]:
        lines.insert(1, f"name        {facts['name']}")
    if facts["channels"]:
        lines.append(f"channels    {', '.join(facts['channels'])}")
    if facts["labels"]:
        lines.append(f"labels      {', '.join(facts['labels'])}")
    rows = _level_rows(facts["levels"])
    return "\n".join([*lines, *table(rows), *(f"warning: {text}" for text in facts["warnings"])])


def run_text(run: Resampled) -> str:
    """Return the summary of a run."""
    t, target = run.times, run.plan.target_grid
    seconds = max(t.wall_seconds, 1e-9)
    text = (
        f"{run.path}: {times(target.shape)} voxels of {times(target.voxel_size)} {_units(target)}, "
        f"{count(len(run.plan.levels), 'level')}, "
        f"{human_bytes(run.stored_bytes)} stored"
    )
    if t.resumed_regions:
        text += f"\n{t.resumed_regions} of {count(run.plan.region_count, 'region')} were there"
    if not t.regions:
        return f"{text}, and nothing was missing"
    return (
        f"{text}\n{count(t.regions, 'region')} in {seconds:.2f} s: "
        f"{t.voxels / seconds / 1e6:.0f} Mvoxel/s, "
        f"{human_bytes(t.nbytes / seconds)}/s before compression\n{_bottleneck(t)}"
    )


def _bottleneck(t: RunTimes) -> str:
    """Say where the workers' time went, and what most of it."""
    parts = {"read": t.read_seconds, "compute": t.compute_seconds, "write": t.write_seconds}
    busy = sum(parts.values())
    parts["wait"] = max(0.0, t.worker_seconds - busy)
    total = sum(parts.values()) or 1.0
    most = {
        "read": "reading the source",
        "compute": "computing",
        "write": "encoding and writing",
        "wait": "waiting for regions",
    }[max(parts, key=lambda name: parts[name])]
    shares = ", ".join(f"{name} {seconds / total:.0%}" for name, seconds in parts.items())
    return f"the bottleneck is {most} ({shares} of the workers' time)"
