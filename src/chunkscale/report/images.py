"""What there is to know of an image, a collection and the formats, as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any

from chunkscale.report.words import (
    Facts,
    axis_names,
    by_axis,
    kind,
    positions,
    spatial,
    time_step,
    voxel_size,
)
from chunkscale.text import as_lines, count, human_bytes, table, times


def info_text(facts: Facts) -> str:
    """Return the facts of `chunkscale.info` for the terminal."""
    if "images" in facts:
        return as_lines(_tree_lines(facts))
    rows = [f"{name:<11} {text}" for name, text in image_rows(facts)]
    rows += table(level_rows(facts["levels"], facts))
    rows += table(member_rows(facts.get("label_images", ()), "labels"))
    return as_lines([*rows, *(f"warning: {text}" for text in facts["warnings"])])


def image_rows(facts: Facts) -> list[tuple[str, str]]:
    """Return what an image is, line by line."""
    rows = [
        ("path", facts["path"]),
        ("name", facts.get("name") or ""),
        ("format", image_format(facts)),
        ("axes", ", ".join(axis["name"] for axis in facts["axes"])),
        ("shape", f"{times(facts['shape'])} {facts['dtype']}, {human_bytes(facts['bytes'])}"),
        ("voxel size", by_axis(facts)),
        ("time step", time_step(facts)),
        ("codec", facts.get("codec", "")),
        ("channels", ", ".join(facts["channels"])),
        ("coordinates", facts.get("coordinates", "")),
    ]
    return [(name, text) for name, text in rows if text]


def image_format(facts: Facts) -> str:
    """Return how an image is stored, and whether it holds labels."""
    is_label = "labels" if facts["is_label"] else "image"
    if "format" in facts:
        return f"{facts['format']}, {is_label}"
    if "zarr_format" not in facts:
        return ""
    return f"OME-Zarr {facts['ome_zarr_version']} (zarr {facts['zarr_format']}), {is_label}"


def level_rows(levels: Sequence[Facts], grid: Facts) -> list[list[str]]:
    """Return the table of levels, as plans and images describe them, with its head."""
    sized = "bytes" in levels[0]
    head = ["level", "shape", "voxel size", "translation", "chunk", "shard"]
    rows = [[*head, *["bytes"] * sized]]
    for level in levels:
        shape, size, place = times(level["shape"]), "-", "-"
        if level["voxel_size"] is not None:
            size = times(level["voxel_size"][i] for i in spatial(grid))
            place = ", ".join(positions(level, grid))
        if level.get("problem") and level["shape"] is None:
            shape = "cannot be opened"
        cells = [level["path"], shape, size, place, times(level["chunk"]), times(level["shard"])]
        rows.append(cells + ([human_bytes(level["bytes"])] if sized else []))
    return rows


def _tree_lines(facts: Facts) -> Iterator[str]:
    yield f"{facts['path']}: {kind(facts)}, {count(len(facts['images']), 'image')}"
    yield from table(member_rows(facts["members"], "image"))
    yield from (f"  {path}" for path in facts["images"][len(facts["members"]) :])
    yield from (f"warning: {text}" for text in facts["warnings"])


def member_rows(members: Sequence[Facts], head: str) -> list[list[str]]:
    """Return the table of images below another group, with its head."""
    if not members:
        return []
    rows = [[head, "axes", "shape", "voxel size", *["labels"] * (head == "image")]]
    for member in members:
        if member["problem"]:
            cells = ["-", member["problem"], "-", "-"]
        else:
            shape = f"{times(member['shape'])} {member['dtype']}"
            labels = ", ".join(name.removeprefix("labels/") for name in member["labels"])
            cells = [axis_names(member), shape, voxel_size(member), labels or "-"]
        rows.append([member["path"], *cells][: len(rows[0])])
    return rows


def formats_text(formats: Sequence[Mapping[str, Any]]) -> str:
    """Return the facts of `chunkscale.formats` for the terminal."""
    lines = ["read:"]
    rows = [["format", "files", "reader", "here", "lazily", "metadata in the output"]]
    for row in filter(itemgetter("reader"), formats):
        here = "yes" if row["installed"] else "no"
        cells = [row["name"], " ".join(row["ends"]), row["reader"], here, row["lazily"]]
        rows.append([*cells, row["keeps"]])
    lines += table(rows)
    missing = [row for row in formats if row["reader"] and not row["installed"]]
    lines += ["to read more:"] * bool(missing)
    lines += table([[row["name"], f"pip install {row['install']}"] for row in missing])
    others = [row for row in formats if not row["reader"]]
    ways = [[row["name"], " ".join(row["ends"]), row["instead"]] for row in others]
    return "\n".join([*lines, "not read, and the way on:", *table(ways)])
