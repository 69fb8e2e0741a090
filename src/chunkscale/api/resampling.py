"""Resample an image."""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Unpack

from numpy.typing import ArrayLike

from chunkscale.api.images import io_threads, reopened
from chunkscale.api.notices import warn_of
from chunkscale.api.parameters import PlanParameters, check_names
from chunkscale.api.planning import planned
from chunkscale.errors import OptionError
from chunkscale.parameters import Existing, PathLike, StorageOptions
from chunkscale.plan.model import ResamplePlan
from chunkscale.report import run_text
from chunkscale.run.connect import connect
from chunkscale.sources.base import Source
from chunkscale.storage import objects as contents
from chunkscale.storage.engine import StoreIO
from chunkscale.text import text_html

if TYPE_CHECKING:
    from chunkscale.run.dask_cluster import DaskCluster
    from chunkscale.run.records import LogCallback, ProgressCallback, RunTimes


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Resampled:
    """What a finished run did.

    Parameters
    ----------
    path : str
        The output.
    plan : ResamplePlan
    times : RunTimes
        Seconds by stage, summed over the workers.
    stored_bytes : int
        Size of all levels as they are stored.
    """

    path: str
    plan: ResamplePlan
    times: RunTimes
    stored_bytes: int

    def as_dict(self) -> dict[str, Any]:
        """Return what was done as JSON values."""
        return {
            "path": self.path,
            "target": self.plan.target_grid.as_dict(),
            "levels": len(self.plan.levels),
            "regions": self.plan.region_count,
            "stored_bytes": self.stored_bytes,
            "times": asdict(self.times),
        }

    def __str__(self) -> str:
        return run_text(self.as_dict())

    def __repr__(self) -> str:
        return f"<Resampled {self.path!r}>"

    def _repr_html_(self) -> str:
        return text_html(str(self))


def resample(
    source: PathLike | Source | ArrayLike,
    destination: PathLike,
    *,
    overwrite: bool = False,
    resume: bool = False,
    take_over: bool = False,
    client: Any = None,
    scheduler: PathLike | None = None,
    resources: Mapping[str, float] | None = None,
    log: PathLike | None = None,
    progress: ProgressCallback | None = None,
    storage_options: StorageOptions | None = None,
    **parameters: Unpack[PlanParameters],
) -> Resampled:
    """Resample an OME-Zarr image or an array of any size into a new OME-Zarr image.

    Parameters
    ----------
    source : str, path-like, Image or array
        OME-Zarr image: local path, or URL with http(s), s3, gs or az. Or an
        array of NumPy or Dask, or what turns into one, with
        ``source_voxel_size``, and ``axes``, ``source_translation`` and
        ``source_unit`` if wanted. One in memory does not count into ``memory``;
        a block of Dask does, but not what its tasks hold besides. Arrays
        stay in this process, and their runs cannot be resumed.
    destination : str or path-like
        Of the new image: local path, or URL with s3, gs or az.
    overwrite : bool, default False
        Replace an image at `destination`, or an unfinished one. It is deleted
        after all checks have passed and before anything is written.
    resume : bool, default False
        Continue what an interrupted run with the same parameters has left at
        `destination`; mend it if it is finished; start if nothing is there.
    take_over : bool, default False
        Also where another run seems to be writing `destination`.
    client : distributed.Client, optional
        Work on its cluster. Default: the active client, if there is one.
    scheduler : str or path-like, optional
        Address (``tcp://host:8786``) or scheduler file of a cluster.
    resources : mapping of str to float, optional
        What every region takes of a worker of the cluster: ``{"GPU": 1}``.
    log : str or path-like, optional
        File that gets one line of JSON for every region.
    progress : callable, optional
        Called with a `chunkscale.Progress` after every region, and while a
        cluster finishes none.
    storage_options : mapping, optional
        How to reach object stores; see `open_image`.
    **parameters
        Those of `plan_resampling`: ``voxel_size``, ``zoom``, ``factor``, ``shape``,
        ``like``, ``source_voxel_size``, ``axes``, ``source_translation``,
        ``source_unit``, ``channels``, ``timepoints``, ``crop``, ``level``, ``method``,
        ``antialias``, ``outside``, ``chunk``, ``shard``, ``levels``, ``pyramid``,
        ``downsample``, ``ome_zarr_version``, ``codec``, ``memory``, ``workers``,
        ``device``, ``device_memory``, ``source_storage_options``.

    Returns
    -------
    Resampled

    Raises
    ------
    DestinationError
        If `destination` exists, or lies in the source, or holds it; with
        `resume`, if it was begun differently.
    ChunkscaleError
        Whatever planning refuses, before anything is written.
    RegionError, CorruptChunkError, ClusterError
        While running. The unfinished output has no multiscales metadata, so
        no reader takes it for an image; `resume` continues it.

    Warns
    -----
    AliasingWarning
        If an axis shrinks by more than 2 without `antialias`.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> import chunkscale
    >>> stack = np.arange(4 * 8 * 8, dtype="uint16").reshape(4, 8, 8)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run = chunkscale.resample(
    ...         stack, f"{folder}/out.zarr", source_voxel_size=(2, 1, 1), source_unit="micrometer"
    ...     )
    ...     chunkscale.open_image(run.path).grid.shape
    (8, 8, 8)
    """
    check_names(parameters, "resample")
    existing = Existing(overwrite=overwrite, resume=resume, take_over=take_over)
    target = check_destination(destination, existing, storage_options)
    with connect(client, scheduler, resources) as cluster:
        # What is stored there may have changed since it was opened.
        plan, image = planned(
            reopened(source),
            destination=target,
            resume=resume,
            client=cluster,
            storage_options=storage_options,
            **parameters,
        )
        warn_of(plan.warnings, stacklevel=3)
        return carry_out(
            plan, target, existing, source=image, cluster=cluster, log=log, progress=progress
        )


def carry_out(
    plan: ResamplePlan,
    target: str,
    existing: Existing,
    *,
    source: Source,
    cluster: DaskCluster | None = None,
    log: PathLike | None = None,
    progress: ProgressCallback | None = None,
) -> Resampled:
    """Do what a plan says, with the source that it was made for and a target that was checked.

    See `resample` and `check_destination`.
    """
    from chunkscale.output.destination import check_apart, check_room, check_unread, unfinished
    from chunkscale.output.labels import check_label_place, list_label
    from chunkscale.output.publish import publish
    from chunkscale.output.writing import writing
    from chunkscale.run.local import local_scheduler
    from chunkscale.run.runs import run_plan
    from chunkscale.run.worker import Job

    if not (progress is None or callable(progress)):
        raise OptionError(f"progress {progress!r} cannot be called; give a function")
    check_apart(plan.source, target)
    check_label_place(plan, target)
    if existing.overwrite and source.opaque:
        check_unread(plan.source, target)
    if not contents.exists(target):
        check_room(plan, target)
    found = unfinished(target) if existing.resume else None
    with _log(log) as note:
        if cluster is None:
            local_scheduler()  # the configuration may be another one than when it was planned
        threads = io_threads() if cluster is None else cluster.shape().codec_threads
        source = source.within(StoreIO(threads=threads, cache_bytes=plan.memory.cache))
        io = StoreIO(threads=threads)
        with writing(plan, target, source, found, existing, io) as out:
            job = Job(run=uuid.uuid4().hex, plan=plan, source=source.array, target=out.levels)
            times = run_plan(
                job, done=out.done, ledger=out.ledger, progress=progress, log=note, cluster=cluster
            )
            stored = publish(plan, out, source)
    list_label(plan, target)
    return Resampled(path=target, plan=plan, times=times, stored_bytes=stored)


@contextlib.contextmanager
def _log(path: PathLike | None) -> Iterator[LogCallback | None]:
    """Yield a function that appends lines of JSON to a file."""
    if path is None:
        yield None
        return
    if not isinstance(path, str | os.PathLike):
        raise OptionError(f"log {path!r} is not a path; give that of a file")
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(open(path, "a", 1, "utf-8"))
        except OSError as error:
            raise OptionError(f"log {os.fspath(path)!r} cannot be written: {error}") from error
        yield lambda entry: print(json.dumps(entry), file=file)


def check_destination(
    destination: PathLike, existing: Existing, storage_options: StorageOptions | None = None
) -> str:
    """Return the output path, which remembers its options, or refuse it."""
    from chunkscale.output.destination import checked_destination

    return checked_destination(destination, existing, storage_options)
