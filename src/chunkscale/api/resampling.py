"""Resample an image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Unpack

from numpy.typing import ArrayLike

from chunkscale.api.images import reopened
from chunkscale.api.notices import warn_of
from chunkscale.api.parameters import PlanParameters, check_names
from chunkscale.api.planning import planned
from chunkscale.api.running import Resampled, carry_out
from chunkscale.parameters import Existing, PathLike, StorageOptions
from chunkscale.run.connect import connect
from chunkscale.sources.base import Source

if TYPE_CHECKING:
    from chunkscale.run.records import ProgressCallback


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
        ``source_unit``, ``channels``, ``timepoints``, ``crop``, ``labels``,
        ``label_method``, ``level``, ``method``,
        ``antialias``, ``outside``, ``chunk``, ``shard``, ``levels``, ``pyramid``,
        ``ome_zarr_version``, ``codec``, ``memory``, ``workers``, ``device``,
        ``device_memory``, ``source_storage_options``.

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
        images = planned(
            reopened(source),
            destination=target,
            resume=resume,
            client=cluster,
            storage_options=storage_options,
            **parameters,
        )
        warn_of(images[0].plan.warnings, stacklevel=3)
        return carry_out(images, target, existing, cluster=cluster, log=log, progress=progress)


def check_destination(
    destination: PathLike, existing: Existing, storage_options: StorageOptions | None = None
) -> str:
    """Return the output path, which remembers its options, or refuse it."""
    from chunkscale.output.destination import checked_destination

    return checked_destination(destination, existing, storage_options)
