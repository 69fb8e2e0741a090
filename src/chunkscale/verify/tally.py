"""How far a check is."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Tally:
    """Counts what was looked at, and what there is to look at.

    Regions are both what is read and what is compared. Voxels are those that are compared, which
    takes most of the time, or those that are read where there is nothing to compare with.

    Parameters
    ----------
    told : callable, optional
        Called after each region.
    images : int
        That are known; those that are not opened yet are taken to be like the others.
    """

    told: Callable[[Tally], None] | None = None
    images: int = 1
    opened: int = 0
    regions: int = 0
    voxels: int = 0
    nbytes: int = 0
    seconds: float = 0.0
    _regions: int = 0
    _voxels: int = 0
    _begun: float = field(default_factory=time.perf_counter)

    @property
    def total_regions(self) -> int:
        """Regions of all images, as far as one knows."""
        return self._all(self._regions)

    @property
    def total_voxels(self) -> int:
        """Voxels of all images, as far as one knows."""
        return self._all(self._voxels)

    def _all(self, opened: int) -> int:
        return opened * max(self.images, self.opened) // max(self.opened, 1)

    def opens(self, regions: int, voxels: int) -> None:
        """Count what there is to look at in one image."""
        self.opened += 1
        self._regions += regions
        self._voxels += voxels

    def step(self, voxels: int, itemsize: int) -> None:
        """Count a region that was looked at."""
        self.regions += 1
        self.voxels += voxels
        self.nbytes += voxels * itemsize
        self.seconds = time.perf_counter() - self._begun
        if self.told is not None:
            self.told(self)
