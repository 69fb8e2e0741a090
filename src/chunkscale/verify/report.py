"""What was checked, and what is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from chunkscale.text import as_lines, count

#: More are not told.
MOST_FAULTS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """What was checked, and what is wrong.

    Parameters
    ----------
    path : str
    faults : tuple of str
        Empty if nothing is wrong. Those of labels and of the images of a collection begin with
        their path below it.
    notes : tuple of str
        What is strange, and may be meant.
    images : int
        Labels are counted as well.
    labels : int
        How many of these are labels.
    levels : int
        Of all of them.
    chunks_read : int
    regions_compared, voxels_compared : int
        Recomputed from the source; 0 if none was given.
    """

    path: str
    faults: tuple[str, ...]
    notes: tuple[str, ...] = ()
    images: int = 1
    labels: int = 0
    levels: int = 0
    chunks_read: int = 0
    regions_compared: int = 0
    voxels_compared: int = 0

    def __bool__(self) -> bool:
        return not self.faults

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "path": self.path,
            "ok": bool(self),
            "faults": list(self.faults),
            "notes": list(self.notes),
            "images": self.images,
            "labels": self.labels,
            "levels": self.levels,
            "chunks_read": self.chunks_read,
            "regions_compared": self.regions_compared,
            "voxels_compared": self.voxels_compared,
        }

    def __str__(self) -> str:
        lines = [f"fault: {text}" for text in self.faults]
        lines += [f"note: {text}" for text in self.notes]
        compared = (
            f", {self.voxels_compared} voxels in {self.regions_compared} regions compared with "
            "the source"
            if self.regions_compared
            else ""
        )
        verdict = "nothing wrong" if self else count(len(self.faults), "fault")
        labels = f" and {count(self.labels, 'label image')}" if self.labels else ""
        several = f"{count(self.images - self.labels, 'image')}{labels}, " * (self.images > 1)
        return as_lines(
            [
                *lines,
                f"{self.path}: {verdict}; {several}{count(self.levels, 'level')}, "
                f"{self.chunks_read} chunks read{compared}",
            ]
        )

    def beside(self, other: CheckReport, name: str) -> CheckReport:
        """Return this and the report of something that lies below, by its path."""

        def named(texts: Iterable[str]) -> Iterator[str]:
            return (f"{name}: {text}" for text in texts)

        return CheckReport(
            path=self.path,
            faults=(*self.faults, *named(other.faults))[:MOST_FAULTS],
            notes=(*self.notes, *named(other.notes))[:MOST_FAULTS],
            images=self.images + other.images,
            labels=self.labels + other.labels,
            levels=self.levels + other.levels,
            chunks_read=self.chunks_read + other.chunks_read,
            regions_compared=self.regions_compared + other.regions_compared,
            voxels_compared=self.voxels_compared + other.voxels_compared,
        )
