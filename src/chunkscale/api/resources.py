"""What a run may use, of this machine or of a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chunkscale import options
from chunkscale.api.defaults import MOST_WORKERS
from chunkscale.compute.devices import device_choices, device_memory_bytes
from chunkscale.errors import OptionError
from chunkscale.parameters import Resources
from chunkscale.plan import policy
from chunkscale.plan.memory import Limits

if TYPE_CHECKING:
    from chunkscale.host.limits import Limit
    from chunkscale.run.dask_cluster import DaskCluster, Shape


def check_here(what: str, cluster: DaskCluster | None) -> None:
    """Refuse other processes, each of which would get a whole array, with every task."""
    from chunkscale.run.local import local_scheduler

    if cluster is None and local_scheduler().shares_memory:
        return
    raise OptionError(
        f"the {what} cannot be sent to other processes ("
        + ("dask.config says so" if cluster is None else f"client {cluster}")
        + '); wrap the call in dask.config.set(scheduler="threads", pool=None) and pass no client, '
        "or store it as OME-Zarr first"
    )


def places(resources: Resources, cluster: DaskCluster | None) -> tuple[str, ...]:
    """Return the devices that a run may take, the best first."""
    device, memory = resources.device, resources.memory
    little = memory is not None and options.parse_bytes(memory) <= policy.GPU_BASE_BYTES
    if device == "auto" and little:
        # To look for a GPU takes more memory than that.
        return ("cpu",)
    return device_choices(device, local=cluster is None)


def limits_at(resources: Resources, cluster: DaskCluster | None, device: str) -> Limits:
    """Return what a run may use: of this machine, or of each process of a cluster."""
    from chunkscale.host.memory import bystander_bytes
    from chunkscale.run.local import local_scheduler

    wanted, origin = options.positive("workers", resources.workers), "as given"
    shape = None if cluster is None else cluster.shape()
    threads = 0 if shape is None else shape.codec_threads
    if shape is not None and shape.processes:
        if wanted is not None:
            raise OptionError(
                f"workers={wanted!r} (--workers) applies to runs without a cluster; {cluster} "
                f"has {shape.slots} threads in {shape.processes} workers"
            )
        wanted, origin = shape.threads, "the cluster"
    elif cluster is None or wanted is None:
        # With workers, too: what Dask cannot run is refused before anything is written.
        local = local_scheduler()
        threads = threads or local.threads
        if wanted is None:
            wanted, origin = min(local.workers, MOST_WORKERS[device]), local.origin
    memory, ceiling = _memory(resources, shape, wanted)
    bystanders = None if shape is None else shape.bystanders
    return Limits(
        memory=memory.amount,
        memory_from=memory.origin,
        ceiling=None if ceiling is None else ceiling.amount,
        ceiling_from="" if ceiling is None else ceiling.origin,
        workers=wanted,
        workers_from=origin,
        threads=threads,
        slots=shape.slots if shape is not None else 0,
        bystanders=bystander_bytes() if bystanders is None else bystanders,
        device_memory=None
        if device == "cpu"
        else device_memory_bytes(resources.device_memory, local=cluster is None),
    )


def _memory(resources: Resources, shape: Shape | None, workers: int) -> tuple[Limit, Limit | None]:
    """Return what a process may hold, and above what the system ends it."""
    from chunkscale.host.limits import Limit, memory_limits

    told = 0 if shape is None else shape.memory
    limits = () if told else tuple(memory_limits())
    if resources.memory is not None:
        memory = Limit(options.parse_bytes(resources.memory), "as given")
    elif told:
        memory = Limit(told, "the workers' own limit, less what Dask keeps free")
    else:
        memory = options.default_memory(workers, limits)
    ceiling = min(limits, key=lambda limit: limit.amount, default=None) if shape is None else None
    return memory, ceiling
