"""Whether the source of a run is still what it was when the run began."""

from __future__ import annotations

import time

from chunkscale.errors import RegionError
from chunkscale.sources.base import Source

#: Seconds before each further look at a source whose store fails when the output is complete.
LOOK_WAITS = (0.2, 0.8, 3.0, 10.0)


def look_at(source: Source, *, whole: bool = False) -> None:
    """Refuse to trust what was read from a source that is not there any more.

    Of an array without its files every chunk reads as one that was left out: as fill value.

    Raises
    ------
    RegionError
        If it is gone, or another one.
    OSError
        If its store does not tell.
    """
    if fate := source.fate(whole=whole):
        raise RegionError(
            f"the source {fate} since this run began; the output is incomplete, and what was "
            "read last is not kept. Restore the source and continue with resume=True (--resume), "
            "or replace the output with overwrite=True (--overwrite)"
        )


def check_source(source: Source) -> None:
    """Look at the whole source once more; ask again, with growing waits, a store that fails."""
    waits = iter(LOOK_WAITS)
    while True:
        try:
            look_at(source, whole=True)
        except OSError as error:
            wait = next(waits, None)
            if wait is None:
                raise RegionError(
                    f"the source {source.uri!r} cannot be checked for changes ({error}), so the "
                    "output is incomplete; once it can be read, continue with resume=True "
                    "(--resume)"
                ) from error
            time.sleep(wait)
        else:
            return
