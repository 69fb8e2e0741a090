"""The driver: take outcomes in, note them down, and say what went wrong."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chunkscale.errors import RegionError
from chunkscale.output.ledger import Ledger
from chunkscale.plan.model import ResamplePlan
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


class Driver:
    """Takes outcomes in: counts, ledger, progress, log and failures."""

    def __init__(
        self,
        plan: ResamplePlan,
        done: NDArray[np.bool_] | None,
        ledger: Ledger | None,
        progress: ProgressCallback | None,
        log: LogCallback | None,
    ) -> None:
        self.plan = plan
        self.done = done
        self.ledger = ledger
        self.progress = progress
        self.log = log
        self.times = RunTimes()
        if done is not None:
            self.times.resumed_regions = int(np.count_nonzero(done))
        left = plan.region_count - self.times.resumed_regions
        voxels = sum(level.grid.size for level in plan.levels)
        self.voxels = voxels * left // plan.region_count
        self.failures: list[Failure] = []
        self.failed_in_a_row = 0

    def missing(self, indices: range) -> Iterator[int]:
        """Yield those of a pass that are not done."""
        if self.done is None:
            yield from indices
            return
        for start in range(indices.start, indices.stop, 65536):
            part = self.done[start : min(start + 65536, indices.stop)]
            yield from (start + np.flatnonzero(~part)).tolist()

    def take(self, outcome: Outcome, worker: str, slots: int) -> None:
        """Take one outcome in."""
        self._note(outcome, worker)
        if isinstance(outcome, Failure):
            self.failures.append(outcome)
            self.failed_in_a_row += 1
            if self.failed_in_a_row >= max(MOST_FAILURES, 2 * slots):
                self.raise_failures()
            return
        self.failed_in_a_row = 0
        self.times.add(outcome)
        self.tick()

    def keep(self, outcomes: Iterable[Outcome], worker: str) -> None:
        """Note down what was finished while the error that ends the run was raised."""
        for outcome in outcomes:
            with contextlib.suppress(OSError):  # of the log: the run has an error already
                self._note(outcome, worker)

    def _note(self, outcome: Outcome, worker: str) -> None:
        # The ledger first: an interrupt may come in between.
        if isinstance(outcome, Record) and self.ledger is not None:
            self.ledger.add(outcome.index, outcome.stored)
        if self.log is not None:
            self.log(_log_entry(outcome, worker))

    def tick(self) -> None:
        """Show progress, and note down what is finished if it is time to."""
        if self.ledger is not None:
            self.ledger.tick()
        if self.progress is not None:
            self.progress(
                Progress(
                    regions=self.times.regions + self.times.resumed_regions,
                    total_regions=self.plan.region_count,
                    voxels=self.times.voxels,
                    total_voxels=self.voxels,
                    nbytes=self.times.nbytes,
                    seconds=self.times.wall_seconds,
                )
            )

    def raise_failures(self) -> None:
        """Raise what went wrong, if something did."""
        if not self.failures:
            return
        first = self.failures[0].error
        if len(self.failures) == 1:
            raise first
        shown = [f"  {failure.error}" for failure in self.failures[:SHOWN_FAILURES]]
        more = len(self.failures) - len(shown)
        text = "\n".join(
            [
                f"{len(self.failures)} regions failed, and everything else that could be done "
                "is kept; once the cause is removed, resume:",
                *shown,
                *([f"  and {more} more"] if more else []),
            ]
        )
        kinds = {type(failure.error) for failure in self.failures}
        error = kinds.pop()(text) if len(kinds) == 1 else RegionError(text)
        raise error from first


def _log_entry(outcome: Outcome, worker: str) -> dict[str, Any]:
    entry = {"time": round(time.time(), 3), "region": outcome.index, "worker": worker}
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
