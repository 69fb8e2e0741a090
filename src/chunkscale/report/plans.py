"""What is going to be done, as text."""

from __future__ import annotations

from collections.abc import Mapping

from chunkscale.report.images import level_rows
from chunkscale.report.words import (
    Facts,
    axis_names,
    further,
    kind,
    time_step,
    translation,
    volume,
    voxel_size,
)
from chunkscale.text import as_lines, count, escaped, human_bytes, table, times


def plan_text(plan: Facts) -> str:
    """Return the facts of a plan for the terminal."""
    lines = [f"{name:<9}{text}" for name, text in (*_grid_rows(plan), *plan_rows(plan))]
    lines += table(level_rows(plan["levels"], plan["target"]))
    lines += [f"warning: {text}" for text in plan["warnings"]]
    return as_lines(lines)


def plan_line(plan: Facts) -> str:
    """Return what a plan is about in one line."""
    source, target = plan["source"], plan["target"]
    sizes = f"{tuple(source['shape'])} -> {tuple(target['shape'])} {source['dtype']}"
    levels = count(len(plan["levels"]), "level")
    return escaped(f"{source['path']!r}: {sizes}, {voxel_size(target)}, {levels}")


def source_title(plan: Facts) -> str:
    """Return where the source of a plan is, and the array in it if that does not say it."""
    source = plan["source"]
    named = source["array"] not in ("", source["path"])
    return f"{source['path']} ({source['array']})" if named else str(source["path"])


def how(plan: Facts) -> str:
    """Return the method of a plan."""
    return f"{plan['method']}, antialiased" if plan["antialias"] else str(plan["method"])


def _grid_rows(plan: Facts) -> list[tuple[str, str]]:
    source, target = plan["source"], plan["target"]
    dtype, step = source["dtype"], time_step(source)
    return [
        ("source", source_title(plan)),
        ("", f"{axis_names(source)} {times(source['shape'])} {dtype}"),
        ("", f"voxel size {voxel_size(source)}" + f", time step {step}" * bool(step)),
        *([("", f"only {source['part']}")] if source["part"] else []),
        ("target", f"{axis_names(target)} {times(target['shape'])} {dtype}, {how(plan)}"),
        ("", f"voxel size {voxel_size(target)}"),
        ("", f"translation {translation(target)}"),
    ]


def plan_rows(plan: Facts) -> list[tuple[str, str]]:
    """Return what a plan writes, and what it takes, line by line."""
    memory = plan["memory"]
    first = map(min, plan["passes"][0]["region_shape"], plan["target"]["shape"])
    total = memory["base"] + memory["chunk_buffers"] + plan["workers"] * memory["per_worker"]
    return [
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
        f"{volume(source)} -> {volume(target)}{further(target)}{along}\n"
        f"{human_bytes(written)} in {count(len(plan['levels']), 'level')} before compression, "
        f"{count(regions, 'region')}, {human_bytes(plan['memory']['total'])} of memory at most"
    )


def _collection_summary(plan: Facts) -> str:
    return (
        f"{_images(plan)} of {plan['source']}, {kind(plan)}{_failed(plan)}\n"
        f"{human_bytes(plan['bytes_written'])} before compression, "
        f"{count(plan['regions'], 'region')}, {human_bytes(plan['memory']['total'])} of memory "
        "at most"
    )


def _images(plan: Facts) -> str:
    labels = f" and {count(plan['labels'], 'label image')}" * bool(plan["labels"])
    return f"{count(plan['images'], 'image')}{labels}"


def _failed(plan: Facts) -> str:
    return f"; {count(plan['failed'], 'image')} cannot be made" * bool(plan["failed"])


def collection_text(plan: Facts) -> str:
    """Return the facts of the plan of a collection for the terminal."""
    lines = [f"{name:<9}{text}" for name, text in collection_rows(plan)]
    lines += table(alike_rows(plan))
    return as_lines([*lines, *collection_notes(plan)])


def collection_rows(plan: Facts) -> list[tuple[str, str]]:
    """Return what a run of many images takes, line by line."""
    workers = count(plan["workers"], "worker")
    return [
        ("source", f"{plan['source']}, {kind(plan)}"),
        ("images", f"{_images(plan)}{_failed(plan)}"),
        ("reads", f"{human_bytes(plan['bytes_read'])} decoded at most"),
        ("writes", f"{human_bytes(plan['bytes_written'])} before compression, all levels"),
        ("regions", f"{plan['regions']}"),
        ("memory", f"{human_bytes(plan['memory']['total'])} at most, {workers}"),
    ]


def alike_rows(plan: Facts) -> list[list[str]]:
    """Return the table of images that are alike, with its head."""
    rows = [["images", "first", "shape", "voxel size", "target", "voxel size", "labels"]]
    for row in plan["alike"]:
        source, target = row["source"], row["target"]
        rows.append(
            [
                str(row["count"]),
                row["first"],
                f"{times(source['shape'])} {source['dtype']}",
                voxel_size(source),
                times(target["shape"]),
                voxel_size(target),
                ", ".join(name.removeprefix("labels/") for name in row["labels"]) or "-",
            ]
        )
    return rows


def collection_notes(plan: Facts) -> list[str]:
    """Return what the table of a collection does not tell."""
    others = f"and {count(plan['others'], 'image')} of other kinds"
    return [
        *[others] * bool(plan["others"]),
        *(f"cannot be made: {name}: {text}" for name, text in plan["failures"].items()),
        *(f"warning: {text}" for text in plan["warnings"]),
    ]
