"""Runs whose output is one file: a folder is made beside it as ever, and packed in the end."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from chunkscale.api.batches import Run
from chunkscale.api.collections import (
    PlannedCollection,
    ResampledCollection,
    carry_out_collection,
    recipe_of,
)
from chunkscale.api.plans import PlannedImage
from chunkscale.api.running import Resampled, carry_out, check_images
from chunkscale.errors import DestinationError
from chunkscale.parameters import Existing
from chunkscale.storage.locations import join

if TYPE_CHECKING:
    from chunkscale.output.packed_place import PackedPlace
    from chunkscale.run.records import Progress, ProgressCallback

_Made = TypeVar("_Made")


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedRun:
    """A run whose output is one file.

    Parameters
    ----------
    place : PackedPlace
    version : str
        Of OME-Zarr.
    existing : Existing
    """

    place: PackedPlace
    version: str
    existing: Existing

    def check(self, images: Sequence[PlannedImage]) -> None:
        """Refuse what cannot be written: what is in the file's place goes before all else."""
        for target in self.place.images_there or [self.place.folder]:
            check_images(images, Run(target=target, existing=self.existing))

    def carry_out(
        self, images: Sequence[PlannedImage], *, progress: ProgressCallback | None, **how: Any
    ) -> Resampled:
        """Make an image, which comes first, and its labels; see `running.carry_out`."""
        from chunkscale.output.packed_place import naming

        folder, pulse = self.place.folder, _Pulse(progress)

        def make() -> Resampled:
            self.check(images)
            self._begin(images[0].plan.source.uri)
            return carry_out(images, folder, self.existing, progress=pulse.on, **how)

        with naming(self.place):
            made = self._made(make, lambda at: _check_images(images, at), pulse)
        first, *labels = (
            replace(one, path=join(self.place.uri, image.name) if image.name else self.place.uri)
            for one, image in zip(
                self._found(images) if made is None else (made, *made.labels), images, strict=True
            )
        )
        return replace(first, labels=tuple(labels))

    def carry_out_collection(
        self, planned: PlannedCollection, *, progress: ProgressCallback | None, **how: Any
    ) -> ResampledCollection:
        """Make a collection; see `collections.carry_out_collection`."""
        from chunkscale.output.collection import begin_collection
        from chunkscale.output.packed import stored_bytes
        from chunkscale.output.packed_place import naming
        from chunkscale.run.records import RunTimes

        folder, pulse = self.place.folder, _Pulse(progress)

        def make() -> ResampledCollection:
            self._begin(planned.source.uri)
            return carry_out_collection(planned, folder, self.existing, progress=pulse.on, **how)

        def check(at: str) -> None:
            recipe = recipe_of(planned.request)
            begin_collection(at, planned.source, recipe, self.version, Existing(resume=True))

        with naming(self.place):
            made = self._made(make, check, pulse)
        if made is not None:
            return replace(made, path=self.place.uri)
        return ResampledCollection(
            path=self.place.uri,
            plan=planned.plan,
            times=RunTimes(resumed_regions=planned.plan.regions),
            stored_bytes=stored_bytes(self.place.uri),
        )

    def _made(
        self, make: Callable[[], _Made], check: Callable[[str], None], pulse: _Pulse
    ) -> _Made | None:
        """Make what is missing: the folder, the file, or nothing; None if not the folder."""
        from chunkscale.output.packed import drop_folder, pack_output, refuse_incomplete

        at = self.place.begun(resume=self.existing.resume)
        if at == self.place.uri:
            check(at)
            refuse_incomplete(at)
            drop_folder(self.place)
            return None
        made = None
        if at == self.place.folder:
            made = make()
        else:
            check(at)
        pack_output(self.place, self.version, self.existing, pulse.again)
        return made

    def _begin(self, source: str) -> None:
        from chunkscale.output.packed import begin

        begin(self.place, self.existing, source)

    def _found(self, images: Sequence[PlannedImage]) -> list[Resampled]:
        """Return what a run would have, had it made what is there."""
        from chunkscale.output.places import tidy
        from chunkscale.run.records import RunTimes

        times = RunTimes(resumed_regions=sum(image.plan.region_count for image in images))
        found = []
        for image in images:
            at = join(self.place.uri, image.name) if image.name else self.place.uri
            nbytes = tidy(at, image.plan)[2]
            found.append(Resampled(path=at, plan=image.plan, times=times, stored_bytes=nbytes))
        return found


def _check_images(images: Sequence[PlannedImage], at: str) -> None:
    """Refuse to take what is there for what a run would make, where it is not."""
    from chunkscale.output.destination import unfinished
    from chunkscale.output.record import check_same, recipe

    for image in images:
        target = join(at, image.name) if image.name else at
        found = unfinished(target)
        if found is None or not found.finished:
            raise DestinationError(
                f"the output {at!r} exists without {image.name!r}; replace it with "
                "overwrite=True (--overwrite)"
            )
        check_same(target, found, recipe(image.plan, image.source))


def left_by_interrupt(destination: str) -> str:
    """Say what an interrupted run has left; a file is put in place whole, or not at all."""
    from chunkscale.output.packed_place import BESIDE, END

    if destination.lower().endswith(END) and os.path.lexists(destination):
        if not os.path.lexists(f"{destination}{BESIDE}"):
            return ". The output is complete."
        # Its file may be whole already, or be what it is to replace.
        return ". The run is not finished; rerun with --resume to continue."
    return ". The output is incomplete; rerun with --resume to continue."


class _Pulse:
    """Says the last progress again while a file is packed: whoever listens may end that."""

    def __init__(self, progress: ProgressCallback | None) -> None:
        self._progress = progress
        self._last: Progress | None = None
        self.on = progress and self._show

    def _show(self, progress: Progress) -> None:
        self._last = progress
        if self._progress is not None:
            self._progress(progress)

    def again(self) -> None:
        if self._last is not None:
            self._show(self._last)
