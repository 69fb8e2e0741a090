"""What `compare.py --peers` has measured, as a table in Markdown and as a picture, for the docs."""

from __future__ import annotations

import importlib.metadata
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpu_peers import GPU_PEERS
from jobs import named
from peers import PEERS

TOOLS = PEERS | GPU_PEERS
WORDS = {name: peer.words for name, peer in TOOLS.items()} | {"floor": "the store layer alone"}
OURS, THEIRS = "#d1495b", "#5b7c99"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One contender.

    Parameters
    ----------
    name, words : str
    floors, ours : mapping of str to float
        How many times as long as the floor and as chunkscale it took, by job: medians.
    core_seconds : float
        In the last job, the median. On a busy machine it says more than seconds do.
    peak : int
        Bytes, in the last job.
    error, bias : float
        The largest and the mean difference from exact interpolation.
    """

    name: str
    words: str
    floors: Mapping[str, float]
    ours: Mapping[str, float]
    core_seconds: float = 0.0
    peak: int = 0
    error: float = 0.0
    bias: float = 0.0


def rows(measured: Mapping[str, Mapping[str, Any]], missing: Sequence[str]) -> list[Row]:
    """Return a row for each contender, the fastest first, and for what is missing."""
    *_, last = measured.values()
    made = []
    for name in last:
        mine = {job: tallies[name] for job, tallies in measured.items()}
        over = {
            other: {job: statistics.median(mine[job].over(measured[job][other])) for job in mine}
            for other in ("floor", "chunkscale")
        }
        made.append(
            Row(
                name=name,
                words=WORDS.get(name, name),
                floors=over["floor"],
                ours=over["chunkscale"],
                core_seconds=statistics.median(last[name].cpu_seconds),
                peak=max(last[name].peaks),
                error=last[name].errors.get("error", 0.0),
                bias=last[name].errors.get("bias", 0.0),
            )
        )
    made.sort(key=lambda row: max(row.floors.values()))
    return made + [Row(name=name, words=WORDS[name], floors={}, ours={}) for name in missing]


def markdown(table: Sequence[Row]) -> str:
    """Return the table, and the versions of what took part."""
    jobs = list(table[0].floors)
    titles = [f"{job}, x {what}" for what in ("floor", "chunkscale") for job in jobs]
    titles += [f"core s, {jobs[-1]}", f"peak MB, {jobs[-1]}", "largest error", "mean error"]
    lines = [f"| | {' | '.join(titles)} |", "|---" * (1 + len(titles)) + "|"]
    for row in table:
        cells = ["not installed"]
        if row.floors:
            cells = [_short(ratios[job]) for ratios in (row.floors, row.ours) for job in jobs]
            cells.append(_short(row.core_seconds))
        if row.floors and row.name != "floor":
            mean = f"{row.bias:.2f}".replace("-0.00", "0.00")
            cells += [f"{row.peak / 1e6:.0f}", f"{row.error:.0f}", mean]
        cells += [""] * (len(titles) - len(cells))
        lines.append(f"| {row.words} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", f"Versions: {', '.join(_versions(table))}.", ""])


def _short(value: float) -> str:
    return f"{value:.1f}" if value < 10 else f"{value:.0f}"


def _versions(table: Sequence[Row]) -> list[str]:
    known = importlib.metadata.packages_distributions()
    peers = [TOOLS[row.name] for row in table if row.floors and row.name in TOOLS]
    modules = {"zarr", "tensorstore", *(module for peer in peers for module in peer.modules)}
    packages = sorted({known[module][0] for module in modules}, key=str.lower)
    return [f"{name} {importlib.metadata.version(name)}" for name in packages]


def plot(table: Sequence[Row], path: Path) -> None:
    """Draw how many times the floor everybody took: a bar for each job, on a logarithmic axis."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    there = [row for row in table if row.floors and row.name != "floor"][::-1]
    jobs = list(there[0].floors)
    thick = 0.8 / len(jobs)
    figure, axes = pyplot.subplots(figsize=(8, 1 + 0.5 * len(there)), layout="constrained")
    for i, row in enumerate(there):
        for k, job in enumerate(jobs):
            at, value = i + 0.4 - thick * (k + 0.5), row.floors[job]
            colour = OURS if row.name.startswith("chunkscale") else THEIRS
            axes.barh(
                at, value - 1, thick * 0.9, left=1, color=colour, alpha=1 - 0.45 * k / len(jobs)
            )
            axes.text(value * 1.03, at, f"{_short(value)}  {job}", va="center", fontsize=8)
    axes.set_yticks(range(len(there)), [row.words.replace("`", "") for row in there], fontsize=8)
    axes.set_xscale("log")
    times = [value for row in there for value in row.floors.values()]
    axes.set_xlim(min(1, *times) * 0.95, 1.6 * max(times))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xticks([tick for tick in (1, 2, 5, 10, 20, 50, 100) if tick < axes.get_xlim()[1]])
    axes.minorticks_off()
    shapes = ", ".join(f"{job}: {'x'.join(map(str, named(job).shape))}" for job in jobs)
    axes.set_title(shapes, fontsize=8)
    axes.set_xlabel("times the store layer alone (logarithmic)")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    figure.savefig(path, dpi=150)
