"""The driver: take outcomes in, note them down, and say what went wrong."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chunkscale.errors import ChunkscaleError, RegionError
from chunkscale.output.ledger import Ledger
from chunkscale.plan.model import ResamplePlan
from chunkscale.run.job import Job
from chunkscale.run.records import (
    Failure,
    LogCallback,
    Outcome,
    Progress,
    ProgressCallback,
    Record,
    RunTimes,
)

#: A run whose last so many regions all failed does not go on.
MOST_FAILURES = 20

SHOWN_FAILURES = 10


@dataclass(slots=True)
class Track:
    """What a driver knows of one image.

    Parameters
    ----------
    plan : ResamplePlan
    done : ndarray of bool, optional
        Regions that are finished already.
    ledger : Ledger, optional
        Told of every finished region.
    failures : list of Failure
        An image that has one gets no further pass.
    failed_in_a_row : int
        Of its regions, up to the last one.
    """

    plan: ResamplePlan
    done: NDArray[np.bool_] | None = None
    ledger: Ledger | None = None
    failures: list[Failure] = field(default_factory=list)
    failed_in_a_row: int = 0

    @property
    def resumed(self) -> int:
        """Regions that are finished already."""
        return 0 if self.done is None else int(np.count_nonzero(self.done))

    def missing(self, number: int) -> Iterator[int]:
        """Yield the regions of a pass that are not done."""
        if self.failures or number >= len(self.plan.passes):
            return
        indices = self.plan.passes[number].indices
        if self.done is None:
            yield from indices
            return
        for start in range(indices.start, indices.stop, 65536):
            part = self.done[start : min(start + 65536, indices.stop)]
            yield from (start + np.flatnonzero(~part)).tolist()

    def error(self) -> ChunkscaleError | None:
        """Return what went wrong, if something did."""
        if not self.failures:
            return None
        first = self.failures[0].error
        if len(self.failures) == 1:
            return first
        shown = [f"  {failure.error}" for failure in self.failures[:SHOWN_FAILURES]]
        more = len(self.failures) - len(shown)
        text = "\n".join(
            [
                f"{len(self.failures)} regions failed; all finished regions are kept. Fix the "
                "cause and continue with resume=True (--resume):",
                *shown,
                *([f"  and {more} more"] if more else []),
            ]
        )
        kinds = {type(failure.error) for failure in self.failures}
        error = kinds.pop()(text) if len(kinds) == 1 else RegionError(text)
        error.__cause__ = first
        return error


class Driver:
    """Takes outcomes in: counts, ledgers, progress, log and failures.

    Parameters
    ----------
    job : Job
    tracks : sequence of Track
        Of its images.
    progress : callable, optional
    log : callable, optional
    """

    def __init__(
        self,
        job: Job,
        tracks: Sequence[Track],
        progress: ProgressCallback | None = None,
        log: LogCallback | None = None,
    ) -> None:
        self.job = job
        self.tracks = tracks
        self.progress = progress
        self.log = log
        self.times = RunTimes(resumed_regions=sum(track.resumed for track in tracks))
        self.voxels = sum(
            track.plan.voxels * (track.plan.region_count - track.resumed) // track.plan.region_count
            for track in tracks
        )

    def missing(self, number: int) -> Iterator[int]:
        """Yield the regions of a pass that are not done; of no image that failed before."""
        for track, start in zip(self.tracks, self.job.starts, strict=False):
            for index in track.missing(number):
                if track.failed_in_a_row >= MOST_FAILURES:
                    break  # one of several images; the others go on
                yield start + index

    def take(self, outcome: Outcome, worker: str, slots: int) -> None:
        """Take one outcome in."""
        track = self._note(outcome, worker)
        if isinstance(outcome, Failure):
            track.failures.append(outcome)
            track.failed_in_a_row += 1
            most = max(MOST_FAILURES, 2 * slots)
            if len(self.tracks) == 1 and track.failed_in_a_row >= most:
                raise track.error() or outcome.error
            return
        track.failed_in_a_row = 0
        self.times.add(outcome)
        self.tick()

    def keep(self, outcomes: Iterable[Outcome], worker: str) -> None:
        """Note down what was finished while the error that ends the run was raised."""
        for outcome in outcomes:
            with contextlib.suppress(OSError):  # of the log: the run has an error already
                self._note(outcome, worker)

    def _note(self, outcome: Outcome, worker: str) -> Track:
        position, index = self.job.locate(outcome.index)
        track = self.tracks[position]
        # The ledger first: an interrupt may come in between.
        if isinstance(outcome, Record) and track.ledger is not None:
            track.ledger.add(index, outcome.stored)
        if self.log is not None:
            place = track.ledger.uri if track.ledger is not None else ""
            self.log(_log_entry(replace(outcome, index=index), worker, place))
        return track

    def tick(self) -> None:
        """Show progress, and note down what is finished if it is time to."""
        self._look()
        if self.progress is not None:
            self.progress(
                Progress(
                    regions=self.times.regions + self.times.resumed_regions,
                    total_regions=self.job.region_count,
                    voxels=self.times.voxels,
                    total_voxels=self.voxels,
                    nbytes=self.times.nbytes,
                    seconds=self.times.wall_seconds,
                )
            )

    def _look(self) -> None:
        """Let every ledger see whether it is time; what one of several finds out ends its image."""
        for track in self.tracks:
            if track.ledger is None:
                continue
            try:
                track.ledger.tick()
            except RegionError as error:
                if len(self.tracks) == 1:
                    raise
                track.failures.append(Failure(0, error))


def _log_entry(outcome: Outcome, worker: str, place: str) -> dict[str, Any]:
    entry = {
        "time": round(time.time(), 3),
        "output": place,
        "region": outcome.index,
        "worker": worker,
    }
    if isinstance(outcome, Failure):
        return {**entry, "error": str(outcome.error)}
    return {
        **entry,
        "read_seconds": round(outcome.read_seconds, 6),
        "compute_seconds": round(outcome.compute_seconds, 6),
        "write_seconds": round(outcome.write_seconds, 6),
        "bytes": outcome.nbytes,
        "stored_bytes": outcome.stored,
    }
