"""What regions, batches and runs report."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from chunkscale.errors import ChunkscaleError


@dataclass(frozen=True, slots=True)
class Record:
    """What a finished region reports.

    Parameters
    ----------
    index : int
    voxels : int
        Voxels written, all levels.
    nbytes : int
        Their size before compression.
    read_seconds, compute_seconds, write_seconds : float
    stored : int
        Bytes of the objects that hold it.
    """

    index: int
    voxels: int
    nbytes: int
    read_seconds: float
    compute_seconds: float
    write_seconds: float
    stored: int = 0


@dataclass(frozen=True, slots=True)
class Failure:
    """A region that could not be made.

    Parameters
    ----------
    index : int
    error : ChunkscaleError
    """

    index: int
    error: ChunkscaleError


Outcome = Record | Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run is.

    Parameters
    ----------
    regions, total_regions : int
        Finished, and all.
    voxels, total_voxels : int
        Written, and to be written, all levels. A resumed run counts its own
        (in proportion to the regions).
    nbytes : int
        Written, before compression.
    seconds : float
        Since the first region began.
    """

    regions: int
    total_regions: int
    voxels: int
    total_voxels: int
    nbytes: int
    seconds: float


ProgressCallback = Callable[[Progress], None]

LogCallback = Callable[[Mapping[str, Any]], None]


@dataclass(slots=True)
class RunTimes:
    """Sums over all regions; seconds add up over the workers.

    ``wall_seconds`` count from `started`: locally when kernels are loaded, which
    may have to be compiled before. ``worker_seconds`` is what the workers had:
    what of it is neither reading nor computing nor writing they waited.
    """

    regions: int = 0
    voxels: int = 0
    nbytes: int = 0
    read_seconds: float = 0.0
    compute_seconds: float = 0.0
    write_seconds: float = 0.0
    wall_seconds: float = 0.0
    worker_seconds: float = 0.0
    resumed_regions: int = 0
    started: float = field(default_factory=time.perf_counter)

    def add(self, record: Record) -> None:
        """Count a finished region."""
        self.regions += 1
        self.voxels += record.voxels
        self.nbytes += record.nbytes
        self.read_seconds += record.read_seconds
        self.compute_seconds += record.compute_seconds
        self.write_seconds += record.write_seconds
        self.wall_seconds = time.perf_counter() - self.started

    def as_dict(self) -> dict[str, float]:
        """Return the sums; of a clock that only this process has nothing can be told."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "started"}

    def __add__(self, later: RunTimes) -> RunTimes:
        """Return the sums of two runs, one after the other."""
        ours, theirs = self.as_dict(), later.as_dict()
        sums: Any = {name: ours[name] + theirs[name] for name in ours}
        return RunTimes(**sums, started=self.started)


@dataclass(frozen=True, slots=True)
class Batch:
    """Regions that were handed out together, and what became of them.

    Parameters
    ----------
    indices : sequence of int
    outcomes : sequence of Record or Failure
        Fewer than `indices` where the run was stopped.
    worker : str
    seconds : float
        Between the first region's begin and the last one's end.
    lost : str
        Why nothing came back, if so; the regions can be handed out again.
    """

    indices: Sequence[int]
    outcomes: Sequence[Outcome] = ()
    worker: str = ""
    seconds: float = 0.0
    lost: str = ""
