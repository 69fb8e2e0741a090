"""What was done and what was checked, as text."""

from __future__ import annotations

from chunkscale.report.words import Facts, further, volume
from chunkscale.text import as_lines, count, escaped, human_bytes, per_second


def run_text(run: Facts) -> str:
    """Return the facts of a finished run for the terminal."""
    lines = [f"{run['path']}: {made_text(run)}, {human_bytes(run['stored_bytes'])} stored"]
    lines += [
        f"{label['path']}: {human_bytes(label['stored_bytes'])} stored"
        for label in run.get("labels", ())
    ]
    return escaped("\n".join([*lines, *time_lines(run)]))


def made_text(run: Facts) -> str:
    """Return what a run has made."""
    if "images" in run:
        labels = f" and {count(run['label_images'], 'label image')}" * bool(run["label_images"])
        return f"{count(run['images'], 'image')}{labels}"
    target = run["target"]
    return f"{volume(target)}{further(target)}, {count(run['levels'], 'level')}"


def time_lines(run: Facts) -> list[str]:
    """Return how long a run took, and what for."""
    spent, labels = run["times"], run.get("labels", ())
    seconds = spent["wall_seconds"]
    lines, regions = [], run["regions"] + sum(label["regions"] for label in labels)
    if spent["resumed_regions"]:
        lines.append(f"{spent['resumed_regions']} of {count(regions, 'region')} already done")
    if not spent["regions"]:
        return [*lines, "nothing was left to do"]
    return [
        *lines,
        f"{count(spent['regions'], 'region')} in {seconds:.2f} s: "
        f"{per_second(spent['voxels'] / 1e6, seconds)} Mvoxel/s, "
        f"{human_bytes(spent['nbytes'] / max(seconds, 1e-9))}/s before compression",
        _shares(spent),
    ]


def _shares(spent: Facts) -> str:
    """Say where the workers' time went, the most of it first."""
    parts = {name: spent[f"{name}_seconds"] for name in ("read", "compute", "write")}
    parts["wait"] = max(0.0, spent["worker_seconds"] - sum(parts.values()))
    total = sum(parts.values()) or 1.0
    words = {
        "read": "reading",
        "compute": "computing",
        "write": "encoding and writing",
        "wait": "waiting",
    }
    first, *others = sorted(parts, key=lambda name: -parts[name])
    rest = ", ".join(f"{words[name]} {parts[name] / total:.0%}" for name in others)
    return f"most time went into {words[first]} ({parts[first] / total:.0%}); {rest}"


def check_text(report: Facts) -> str:
    """Return the facts of a check for the terminal."""
    lines = [f"fault: {text}" for text in report["faults"]]
    lines += [f"note: {text}" for text in report["notes"]]
    return as_lines([*lines, f"{report['path']}: {verdict(report)}: {checked(report)}"])


def verdict(report: Facts) -> str:
    """Return whether an image is as it should be."""
    return "OK" if report["ok"] else count(len(report["faults"]), "fault")


def checked(report: Facts) -> str:
    """Return what was looked at."""
    images, labels = report["images"] - report["labels"], report["labels"]
    along = f" and {count(labels, 'label image')}" if labels else ""
    several = f"{count(images, 'image')}{along}, " * (report["images"] > 1)
    read = f"{count(report['levels'], 'level')}, {count(report['chunks_read'], 'chunk')} read"
    return f"{several}{read}{compared(report)}"


def compared(report: Facts) -> str:
    """Return how much was compared with the source; nothing if none was given."""
    if not report["regions_compared"]:
        return ""
    voxels = count(report["voxels_compared"], "voxel")
    return f", {voxels} in {count(report['regions_compared'], 'region')} compared with the source"
