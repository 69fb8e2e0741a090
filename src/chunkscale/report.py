"""Plans, images and runs as text and HTML: plain facts in, formatting only.

Facts are dictionaries of JSON values, as the values' own `as_dict` gives them: nothing
here knows where they come from.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any

from chunkscale.text import as_lines, count, escaped, human_bytes, table, times

Facts = Mapping[str, Any]


def _units(grid: Facts) -> str:
    """Return the unit of the spatial axes, or each one's."""
    spatial = [axis for axis in grid["axes"] if axis["type"] == "space"]
    units = [axis["unit"] or "" for axis in spatial]
    if len(set(units)) == 1:
        return units[0] or "no unit"
    return ", ".join(f"{axis['name']}: {axis['unit'] or 'no unit'}" for axis in spatial)


def _axes(grid: Facts) -> str:
    names = tuple(axis["name"] for axis in grid["axes"])
    return "".join(names) if all(len(name) == 1 for name in names) else str(names)


def _level_rows(levels: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Return the table of levels, as plans and images describe them."""
    columns = ["shape", "voxel_size", "translation", "chunk", "shard"]
    sized = "bytes" in levels[0]
    rows = [["level", *(name.replace("_", " ") for name in columns), *["bytes"] * sized]]
    for level in levels:
        cells = [level["path"], *(times(level[name]) for name in columns)]
        if level.get("problem") and level["shape"] is None:
            cells[1] = "cannot be opened"
        rows.append(cells + ([human_bytes(level["bytes"])] if sized else []))
    return rows


def _kind(facts: Facts) -> str:
    """Return what a collection is, for a sentence."""
    kind = facts["kind"]
    return "a series (bioformats2raw)" if kind == "bioformats2raw" else f"a {kind}"


def _plan_rows(plan: Facts) -> list[tuple[str, str]]:
    source, target, memory = plan["source"], plan["target"], plan["memory"]
    dtype = source["dtype"]
    how = plan["method"] + ", antialiased" * plan["antialias"]
    first = map(min, plan["passes"][0]["region_shape"], target["shape"])
    named = source["array"] not in ("", source["path"])
    total = memory["base"] + memory["chunk_buffers"] + plan["workers"] * memory["per_worker"]
    return [
        ("source", source["path"] + f" ({source['array']})" * named),
        ("", f"{_axes(source)} {times(source['shape'])} {dtype}"),
        ("", f"voxel size {times(source['voxel_size'])} {_units(source)}"),
        *([("", f"only {source['part']}")] if source["part"] else []),
        ("target", f"{_axes(target)} {times(target['shape'])} {dtype}, {how}"),
        ("", f"voxel size {times(target['voxel_size'])} {_units(target)}"),
        ("", f"translation {times(target['translation'])}"),
        *_label_rows(plan["labels"]),
        ("format", f"OME-Zarr {plan['ome_zarr_version']}, {plan['codec']}{_checksum(plan)}"),
        (
            "reads",
            f"{human_bytes(plan['bytes_read'])} decoded at most "
            f"({plan['read_amplification']:.2f} times the source)",
        ),
        (
            "writes",
            f"{human_bytes(plan['bytes_written'])} before compression, all levels"
            + f"; coarser ones by {plan['downsample']}" * (len(plan["levels"]) > 1),
        ),
        (
            "regions",
            f"{plan['regions']} in {count(len(plan['passes']), 'pass', 'es')}, "
            f"{times(first)} voxels each in the first",
        ),
        (
            "memory",
            f"{human_bytes(total)} at most = {human_bytes(memory['base'])} base + "
            f"{human_bytes(memory['chunk_buffers'])} chunk buffers + "
            f"{count(plan['workers'], 'worker')} x {human_bytes(memory['per_worker'])}",
        ),
        *_whole_rows(plan, total),
        ("", f"limited to {human_bytes(memory['limit'])}: {memory['limit_from']}"),
        ("device", _device_text(plan["device_memory"])),
    ]


def _checksum(plan: Facts) -> str:
    return "" if plan["checksum"] == "none" else f", with {plan['checksum']} of each chunk"


def _label_rows(labels: Mapping[str, Facts]) -> list[tuple[str, str]]:
    """Say what becomes of the labels of an image."""
    return [
        (
            "" if k else "labels",
            f"{name}: {times(plan['source']['shape'])} {plan['source']['dtype']} -> "
            f"{times(plan['target']['shape'])}, {plan['method']}, "
            f"{human_bytes(plan['bytes_written'])} in {count(plan['regions'], 'region')}",
        )
        for k, (name, plan) in enumerate(labels.items())
    ]


def _whole_rows(plan: Facts, alone: int) -> list[tuple[str, str]]:
    """Say what an image costs together with its labels, which the rows above leave out."""
    if not plan["labels"]:
        return []
    plans = (plan, *plan["labels"].values())
    read, written, regions = (
        sum(each[key] for each in plans) for key in ("bytes_read", "bytes_written", "regions")
    )
    most = max(alone, plan["memory"]["total"])
    return [
        (
            "",
            f"with its labels {human_bytes(most)} at most, {human_bytes(read)} read, "
            f"{human_bytes(written)} written, {count(regions, 'region')}",
        )
    ]


def _device_text(use: Facts | None) -> str:
    if use is None:
        return "CPU"
    return (
        f"GPU, {human_bytes(use['total'])} of its memory at most = {human_bytes(use['base'])} for "
        f"the driver + {count(use['lanes'], 'region')} x {human_bytes(use['per_lane'])}"
    )


def plan_text(plan: Facts) -> str:
    """Return the facts of a plan for the terminal."""
    lines = [f"{name:<9}{text}" for name, text in _plan_rows(plan)]
    lines += table(_level_rows(plan["levels"]))
    lines += [f"warning: {text}" for text in plan["warnings"]]
    return as_lines(lines)


def run_summary(plan: Facts, cluster: object = None) -> str:
    """Return what a user wants to know before a run, in two or three lines."""
    text = _collection_summary(plan) if "images" in plan else _plan_summary(plan)
    text = escaped(text)
    return text if cluster is None else f"{text} in each worker process\ncluster {cluster}"


def _plan_summary(plan: Facts) -> str:
    source, target = plan["source"], plan["target"]
    labels = plan["labels"].values()
    written = plan["bytes_written"] + sum(label["bytes_written"] for label in labels)
    regions = plan["regions"] + sum(label["regions"] for label in labels)
    along = f" and {count(len(labels), 'label image')}" if labels else ""
    return (
        f"{times(source['shape'])} voxels of {times(source['voxel_size'])} -> "
        f"{times(target['shape'])} of {times(target['voxel_size'])} {_units(target)}{along}\n"
        f"{human_bytes(written)} in "
        f"{count(len(plan['levels']), 'level')} before compression, "
        f"{count(regions, 'region')}, at most "
        f"{human_bytes(plan['memory']['total'])} of memory"
    )


def _collection_summary(plan: Facts) -> str:
    labels = f" and {count(plan['labels'], 'label image')}" * bool(plan["labels"])
    failed = f"; {count(plan['failed'], 'image')} cannot be made" * bool(plan["failed"])
    return (
        f"{count(plan['images'], 'image')}{labels} of {plan['source']}, {_kind(plan)}{failed}\n"
        f"{human_bytes(plan['bytes_written'])} before compression, "
        f"{count(plan['regions'], 'region')}, at most {human_bytes(plan['memory']['total'])} of "
        "memory"
    )


def plan_html(plan: Facts) -> str:
    """Return the facts of a plan for a notebook."""
    notes = "".join(f"<p><b>warning:</b> {html.escape(text)}</p>" for text in plan["warnings"])
    levels = _table_html(*_split(_level_rows(plan["levels"])))
    return _table_html([], _plan_rows(plan)) + levels + notes


def collection_text(plan: Facts) -> str:
    """Return the facts of the plan of a collection for the terminal."""
    lines = [f"{name:<9}{text}" for name, text in _collection_rows(plan)]
    lines += table(_alike_rows(plan))
    if plan["others"]:
        lines.append(f"  and {count(plan['others'], 'image')} of other kinds")
    lines += [f"cannot be made: {name}: {text}" for name, text in plan["failures"].items()]
    return as_lines([*lines, *(f"warning: {text}" for text in plan["warnings"])])


def collection_html(plan: Facts) -> str:
    """Return the facts of the plan of a collection for a notebook."""
    failures = [f"cannot be made: {name}: {text}" for name, text in plan["failures"].items()]
    warnings = [f"warning: {text}" for text in plan["warnings"]]
    return (
        _table_html([], _collection_rows(plan))
        + _table_html(*_split(_alike_rows(plan)))
        + "".join(f"<p>{html.escape(text)}</p>" for text in (*failures, *warnings))
    )


def _split(rows: list[list[str]]) -> tuple[list[str], list[list[str]]]:
    return rows[0], rows[1:]


def _table_html(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    titles = "".join(f"<th>{html.escape(text)}</th>" for text in head)
    body = "".join(
        "<tr>"
        + "".join(f"<td style='text-align:left'>{html.escape(c)}</td>" for c in row)
        + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table>"


def _collection_rows(plan: Facts) -> list[tuple[str, str]]:
    labels = f" and {count(plan['labels'], 'label image')}" * bool(plan["labels"])
    failed = f"; {count(plan['failed'], 'image')} cannot be made" * bool(plan["failed"])
    return [
        ("source", f"{plan['source']}, {_kind(plan)}"),
        ("images", f"{plan['images']}{labels}{failed}"),
        ("reads", f"{human_bytes(plan['bytes_read'])} decoded at most"),
        ("writes", f"{human_bytes(plan['bytes_written'])} before compression, all levels"),
        ("regions", f"{plan['regions']}"),
        (
            "memory",
            f"{human_bytes(plan['memory']['total'])} at most, {count(plan['workers'], 'worker')}",
        ),
    ]


def _alike_rows(plan: Facts) -> list[list[str]]:
    rows = [["images", "first", "shape", "voxel size", "target", "voxel size", "labels"]]
    for row in plan["alike"]:
        source, target = row["source"], row["target"]
        rows.append(
            [
                str(row["count"]),
                row["first"],
                f"{times(source['shape'])} {source['dtype']}",
                times(source["voxel_size"]),
                times(target["shape"]),
                f"{times(target['voxel_size'])} {_units(target)}",
                ", ".join(name.removeprefix("labels/") for name in row["labels"]) or "-",
            ]
        )
    return rows


def _tree_lines(facts: Facts) -> Iterator[str]:
    yield f"{facts['path']}: {_kind(facts)}, {count(len(facts['images']), 'image')}"
    yield from _member_lines(facts["members"], "image")
    yield from (f"  {path}" for path in facts["images"][len(facts["members"]) :])
    yield from (f"warning: {text}" for text in facts["warnings"])


def _member_lines(members: Sequence[Facts], head: str) -> list[str]:
    """Return the table of images below another group."""
    if not members:
        return []
    rows = [[head, "axes", "shape", "voxel size", *["labels"] * (head == "image")]]
    for member in members:
        if member["problem"]:
            cells = ["-", member["problem"], "-", "-"]
        else:
            shape = f"{times(member['shape'])} {member['dtype']}"
            size = f"{times(member['voxel_size'])} {_units(member)}"
            labels = ", ".join(name.removeprefix("labels/") for name in member["labels"])
            cells = [_axes(member), shape, size, labels or "-"]
        rows.append([member["path"], *cells][: len(rows[0])])
    return table(rows)


def info_text(facts: Facts) -> str:
    """Return the facts of `chunkscale.info` for the terminal."""
    if "images" in facts:
        return as_lines(_tree_lines(facts))
    names = [axis["name"] for axis in facts["axes"]]
    units = {axis["name"]: axis["unit"] for axis in facts["axes"]}
    sizes = ", ".join(
        f"{name} {size:.6g}{' ' + units[name] if units[name] else ''}"
        for name, size in zip(names, facts["voxel_size"], strict=True)
    )
    kind = "labels" if facts["is_label"] else "image"
    lines = [
        f"path        {facts['path']}",
        f"format      {_format(facts)}, {kind}",
        f"axes        {', '.join(names)}",
        f"shape       {times(facts['shape'])} {facts['dtype']}, {human_bytes(facts['bytes'])}",
        f"voxel size  {sizes}",
        f"codec       {facts['codec']}",
    ]
    if facts["name"]:
        lines.insert(1, f"name        {facts['name']}")
    if facts["channels"]:
        lines.append(f"channels    {', '.join(facts['channels'])}")
    if facts.get("coordinates"):
        lines.append(f"coordinates {facts['coordinates']}")
    rows = [
        *table(_level_rows(facts["levels"])),
        *_member_lines(facts.get("label_images", ()), "labels"),
    ]
    return as_lines([*lines, *rows, *(f"warning: {text}" for text in facts["warnings"])])


def formats_text(formats: Sequence[Facts]) -> str:
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


def _format(facts: Facts) -> str:
    if "format" in facts:
        return str(facts["format"])
    return f"OME-Zarr {facts['ome_zarr_version']} (zarr {facts['zarr_format']})"


def run_text(run: Facts) -> str:
    """Return the facts of a finished run for the terminal."""
    times_of, labels = run["times"], run.get("labels", ())
    seconds = max(times_of["wall_seconds"], 1e-9)
    text = escaped(_made_text(run))
    for label in labels:
        text += f"\n{escaped(label['path'])}: {human_bytes(label['stored_bytes'])} stored"
    regions = run["regions"] + sum(label["regions"] for label in labels)
    if times_of["resumed_regions"]:
        text += f"\n{times_of['resumed_regions']} of {count(regions, 'region')} were there"
    if not times_of["regions"]:
        return f"{text}, and nothing was missing"
    return (
        f"{text}\n{count(times_of['regions'], 'region')} in {seconds:.2f} s: "
        f"{times_of['voxels'] / seconds / 1e6:.0f} Mvoxel/s, "
        f"{human_bytes(times_of['nbytes'] / seconds)}/s before compression\n"
        f"{_bottleneck(times_of)}"
    )


def _made_text(run: Facts) -> str:
    stored = f"{human_bytes(run['stored_bytes'])} stored"
    if "images" in run:
        labels = f" and {count(run['label_images'], 'label image')}" * bool(run["label_images"])
        return f"{run['path']}: {count(run['images'], 'image')}{labels}, {stored}"
    target = run["target"]
    return (
        f"{run['path']}: {times(target['shape'])} voxels of {times(target['voxel_size'])} "
        f"{_units(target)}, {count(run['levels'], 'level')}, {stored}"
    )


def _bottleneck(spent: Facts) -> str:
    """Say where the workers' time went, and what most of it."""
    parts = {name: spent[f"{name}_seconds"] for name in ("read", "compute", "write")}
    parts["wait"] = max(0.0, spent["worker_seconds"] - sum(parts.values()))
    total = sum(parts.values()) or 1.0
    most = {
        "read": "reading the source",
        "compute": "computing",
        "write": "encoding and writing",
        "wait": "waiting for regions",
    }[max(parts, key=lambda name: parts[name])]
    shares = ", ".join(f"{name} {seconds / total:.0%}" for name, seconds in parts.items())
    return f"the bottleneck is {most} ({shares} of the workers' time)"
