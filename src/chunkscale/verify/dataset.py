"""Check an image and its labels."""

from __future__ import annotations

from dataclasses import replace

from chunkscale.errors import ChunkscaleError
from chunkscale.sources.base import Sizes
from chunkscale.sources.left_behind import label_paths
from chunkscale.storage.engine import StoreIO
from chunkscale.storage.locations import join
from chunkscale.verify.image import check_image
from chunkscale.verify.report import CheckReport


def check_dataset(uri: str, source: object, io: StoreIO, sizes: Sizes | None = None) -> CheckReport:
    """Check an image and its labels; see `chunkscale.check`."""
    report = check_image(uri, source, io, sizes)
    labels, _ = label_paths(uri)
    theirs = label_paths(source)[0] if isinstance(source, str) and labels else ()
    for path in labels:
        origin = join(source, path) if isinstance(source, str) and path in theirs else None
        # What the source's labels were taken to be is in the record of ours.
        said = _checked(join(uri, path), origin, io, sizes if source is None else None)
        if source is not None and origin is None:
            note = "it was not compared, for the source has no such labels"
            said = replace(said, notes=(*said.notes, note))
        report = report.beside(said, path)
    return report


def _checked(uri: str, source: str | None, io: StoreIO, sizes: Sizes | None) -> CheckReport:
    """Check one image; what keeps it from being opened is a fault of it."""
    try:
        return check_image(uri, source, io, sizes)
    except ChunkscaleError as error:
        return CheckReport(path=uri, faults=(str(error),))
