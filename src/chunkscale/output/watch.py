"""Whether the source of a run is still what it was when the run began."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from chunkscale.errors import RegionError
from chunkscale.ome.model import Multiscale
from chunkscale.ome.read import describe
from chunkscale.plan.model import ResamplePlan
from chunkscale.storage.fate import fate
from chunkscale.storage.groups import group_attributes
from chunkscale.storage.reader import ArrayReader

#: Seconds before each further look at a source whose store fails when the output is complete.
LOOK_WAITS = (0.2, 0.8, 3.0, 10.0)


def look_at(source: ArrayReader) -> None:
    """Refuse to trust what was read from a source that is not there any more.

    Of an array without its files every chunk reads as one that was left out: as fill value.

    Raises
    ------
    RegionError
        If it is gone, or another one.
    OSError
        If its store does not tell.
    """
    _refuse(source.uri, source.fate())


def _refuse(uri: str, fate: str) -> None:
    if fate:
        raise RegionError(
            f"the source {uri!r} {fate} since this run began; the output stays unfinished, and "
            "what was read last is not kept. Put the source back and go on with resume=True "
            "(--resume), or replace the output with overwrite=True (--overwrite)"
        )


def check_source(plan: ResamplePlan, source: ArrayReader, attributes: Mapping[str, Any]) -> None:
    """Look at the whole source once more; ask again, with growing waits, a store that fails."""

    def is_there() -> bool:
        return _geometry(group_attributes(plan.source.uri)) == _geometry(attributes)

    waits = iter(LOOK_WAITS)
    while True:
        try:
            look_at(source)
            _refuse(plan.source.uri, fate(plan.source.uri, is_there))
        except OSError as error:
            wait = next(waits, None)
            if wait is None:
                raise RegionError(
                    f"whether the source {source.uri!r} is still what it was cannot be told "
                    f"({error}), so the output stays unfinished; once it can be read, go on with "
                    "resume=True (--resume)"
                ) from error
            time.sleep(wait)
        else:
            return


def _geometry(attributes: Mapping[str, Any]) -> str:
    """Return what the metadata of an image say of its level 0."""
    found = describe(attributes)
    # As a text, because a number may be NaN.
    return repr((found.axes, found.datasets[:1]) if isinstance(found, Multiscale) else found)
