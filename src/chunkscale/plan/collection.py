"""The plan of a collection of images: sums, and what its images have in common.

Its size is that of the differences between images, not of their number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from chunkscale.errors import Notice
from chunkscale.plan.model import ResamplePlan
from chunkscale.report.html import collection_html
from chunkscale.report.plans import collection_text

#: Rows of images that are alike, warnings and failures that a plan keeps; more are counted.
MOST_KEPT = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class AlikeImages:
    """Images of which one says it all.

    Parameters
    ----------
    first : str
        Path of the first of them.
    count : int
    plan : ResamplePlan
        Of the first.
    """

    first: str
    count: int
    plan: ResamplePlan

    def as_dict(self) -> dict[str, Any]:
        """Return the row as JSON values."""
        facts = self.plan.as_dict()
        kept = ("source", "target", "method", "levels", "regions", "labels")
        return {"first": self.first, "count": self.count, **{key: facts[key] for key in kept}}


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionPlan:
    """What a run of many images reads, computes and writes, and what it costs.

    Made by `chunkscale.plan_resampling` with ``images``.

    Parameters
    ----------
    source : str
    kind : str
        ``"plate"``, ``"well"``, ``"bioformats2raw"``, ``"scene"``, ``"folder"`` or
        ``"file"``.
    images, labels : int
    regions : int
        Of all of them.
    voxels : int
        To be written, all levels.
    bytes_read, bytes_written : int
        Decoded and before compression, at most.
    promise : int
        Most bytes of memory that the run takes.
    workers : int
    alike : tuple of AlikeImages
        The first `MOST_KEPT`.
    others : int
        Images like none of these.
    failures : tuple of (str, str)
        Images that cannot be made, and why; the first `MOST_KEPT`.
    failed : int
        All of them.
    warnings : tuple of Notice
    """

    source: str
    kind: str
    images: int
    labels: int
    regions: int
    voxels: int
    bytes_read: int
    bytes_written: int
    promise: int
    workers: int
    alike: tuple[AlikeImages, ...]
    others: int
    failures: tuple[tuple[str, str], ...]
    failed: int
    warnings: tuple[Notice, ...]

    @property
    def region_count(self) -> int:
        """Number of regions of all images."""
        return self.regions

    def as_dict(self) -> dict[str, Any]:
        """Return the plan's figures as plain JSON values."""
        plain = ("source", "kind", "images", "labels", "regions", "bytes_read", "bytes_written")
        return {
            **{name: getattr(self, name) for name in plain},
            "memory": {"total": self.promise},
            "workers": self.workers,
            "alike": [row.as_dict() for row in self.alike],
            "others": self.others,
            "failures": dict(self.failures),
            "failed": self.failed,
            "warnings": [str(n) for n in self.warnings if n.kind != "asked"],
        }

    def __str__(self) -> str:
        return collection_text(self.as_dict())

    def __repr__(self) -> str:
        return f"<CollectionPlan of {self.images} images of {self.source!r}>"

    def _repr_html_(self) -> str:
        return collection_html(self.as_dict())


@dataclass(slots=True)
class Survey:
    """Adds up the plans of images as they come."""

    images: int = 0
    labels: int = 0
    regions: int = 0
    voxels: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    shared: int = 0
    each: int = 0
    total: int = 0
    limit: int = 0
    workers: int = 1
    failed: int = 0
    failures: list[tuple[str, str]] = field(default_factory=list)
    _alike: dict[Any, list[Any]] = field(default_factory=dict)
    _said: dict[Notice, list[Any]] = field(default_factory=dict)
    _unsaid: int = 0

    def add(self, name: str, plans: Sequence[ResamplePlan]) -> None:
        """Count an image, which comes first, and its labels."""
        image = plans[0]
        self.images += 1
        self.labels += len(plans) - 1
        for plan in plans:
            self.regions += plan.region_count
            self.voxels += plan.voxels
            self.bytes_read += plan.bytes_read
            self.bytes_written += plan.bytes_written
            self.shared = max(self.shared, plan.memory.base + plan.memory.buffers)
            self.each = max(self.each, plan.memory.per_worker)
            self.total = max(self.total, plan.memory.total)
            self.limit = max(self.limit, plan.limits.memory)
            self.workers = max(self.workers, plan.limits.workers)
        key = (
            *(image.source.shape, image.dtype, image.source_grid.voxel_size),
            *(image.levels[0].shape, image.target_grid.voxel_size),
            tuple(name for name, _ in image.labels),
        )
        if key in self._alike or len(self._alike) < MOST_KEPT:
            self._alike.setdefault(key, [name, 0, image])[1] += 1
        for notice in image.warnings:
            self.say(notice, name)

    def say(self, notice: Notice, name: str = "") -> None:
        """Note a warning, of an image or of the whole."""
        if notice in self._said or len(self._said) < MOST_KEPT:
            self._said.setdefault(notice, [name, 0])[1] += 1
        else:
            self._unsaid += 1

    def fail(self, name: str, error: Exception) -> None:
        """Note an image that cannot be made."""
        self.failed += 1
        if len(self.failures) < MOST_KEPT:
            self.failures.append((name, str(error)))

    def plan(self, source: str, kind: str) -> CollectionPlan:
        """Return what was found."""
        fitting = self.shared + self.workers * self.each
        alike = tuple(
            AlikeImages(first=first, count=number, plan=plan)
            for first, number, plan in self._alike.values()
        )
        return CollectionPlan(
            source=source,
            kind=kind,
            images=self.images,
            labels=self.labels,
            regions=self.regions,
            voxels=self.voxels,
            bytes_read=self.bytes_read,
            bytes_written=self.bytes_written,
            promise=max(self.total, min(self.limit, fitting)),
            workers=self.workers,
            alike=alike,
            others=self.images - sum(row.count for row in alike),
            failures=tuple(self.failures),
            failed=self.failed,
            warnings=tuple(self._warnings()),
        )

    def _warnings(self) -> list[Notice]:
        found = []
        for notice, (name, number) in self._said.items():
            if number > 1:
                text = f"{notice} ({number} images, the first is {name!r})"
            else:
                text = f"{name}: {notice}" if name else str(notice)
            found.append(Notice(notice.kind, text))
        if self._unsaid:
            text = f"and {self._unsaid} more warnings of images; plan them one by one"
            found.append(Notice("more", text))
        return found
