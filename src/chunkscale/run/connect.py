"""Which cluster a run uses."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from chunkscale.errors import OptionError
from chunkscale.host.forks import fork_error, inherited
from chunkscale.parameters import PathLike
from chunkscale.run.dask_cluster import NO_DISTRIBUTED

if TYPE_CHECKING:
    from distributed import Client

    from chunkscale.run.dask_cluster import DaskCluster

CONNECT_SECONDS = 20.0

#: In a forked process a client whose thread is there answers itself within this time.
ANSWER_SECONDS = 3.0


def active_client() -> Client | None:
    """Return the client that ``dask.compute`` would use now, if there is one."""
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return None
    import dask

    chosen = dask.config.get("scheduler", None)
    named = isinstance(chosen, distributed.Client)
    if not named and chosen not in ("dask.distributed", "distributed"):
        return None
    try:
        distributed.get_worker()
    except ValueError:
        pass
    else:
        return None  # a task must not wait for tasks; this process is all that it has
    try:
        client: Client = chosen if named else distributed.default_client()
    except ValueError:
        return None
    return client


@contextlib.contextmanager
def connected(scheduler: str | os.PathLike[str]) -> Iterator[Client]:
    """Yield a client of the scheduler at an address, or in a scheduler file.

    Raises
    ------
    OptionError
        If nothing answers.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise OptionError(f"scheduler {scheduler!r} cannot be used: {NO_DISTRIBUTED}") from error
    text = os.fspath(scheduler)
    place = {"address": text} if "://" in text else {"scheduler_file": text}
    if "scheduler_file" in place and not os.path.isfile(text):
        raise OptionError(
            f"scheduler {text!r} is neither an address like tcp://host:8786 nor a scheduler file"
        )
    try:
        client = Client(**place, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise OptionError(
            f"the scheduler {text!r} does not answer ({error}); check its address, and that it "
            "is running"
        ) from error
    try:
        yield client
    finally:
        client.close()


@contextlib.contextmanager
def connect(
    client: Any = None,
    scheduler: PathLike | None = None,
    resources: Mapping[str, float] | None = None,
) -> Iterator[DaskCluster | None]:
    """Yield the cluster that a run would use, or None for the local scheduler.

    Parameters
    ----------
    client, scheduler, resources
        As in `resample`.
    """
    from chunkscale.run.dask_cluster import DaskCluster

    if client is not None and scheduler is not None:
        raise OptionError("client and scheduler both name a cluster; pass only one")
    if isinstance(client, DaskCluster):
        yield client
    elif scheduler is not None:
        with connected(scheduler) as own:
            yield DaskCluster(own, resources)
    else:
        chosen = active_client() if client is None else client
        if chosen is None and resources:
            raise OptionError(
                f"resources {dict(resources)!r} apply to cluster workers, but there is no "
                "cluster; give client or scheduler, or leave them out"
            )
        if chosen is not None and inherited("distributed"):
            _refuse_silent(chosen)
        yield DaskCluster(chosen, resources) if chosen is not None else None


def _refuse_silent(client: Client) -> None:
    """Refuse the client of the process that this one was forked from: nothing would answer."""
    answer = threading.Event()
    if getattr(client, "loop", None) is not None:
        client.loop.add_callback(answer.set)
        if not answer.wait(ANSWER_SECONDS):
            raise fork_error(f"client {client.id}")
