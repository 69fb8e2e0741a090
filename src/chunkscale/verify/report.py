"""What was checked, and what is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from chunkscale.report.html import check_html
from chunkscale.report.runs import check_text, verdict
from chunkscale.text import count, shown

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
        return check_text(self.as_dict())

    def __repr__(self) -> str:
        found = f", the first: {shown(self.faults[0])}" if self.faults else ""
        levels = count(self.levels, "level")
        return f"<CheckReport {self.path!r}: {verdict(self.as_dict())}, {levels}{found}>"

    def _repr_html_(self) -> str:
        return check_html(self.as_dict())

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
