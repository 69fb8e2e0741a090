"""Check an image and its labels, or all of a collection."""

from __future__ import annotations

from dataclasses import replace

from chunkscale.errors import ChunkscaleError, Notice, OptionError
from chunkscale.sources.base import Sizes
from chunkscale.sources.collections import open_collection
from chunkscale.sources.documents import group_document
from chunkscale.sources.left_behind import label_paths
from chunkscale.sources.parts import Part
from chunkscale.storage.engine import StoreIO
from chunkscale.storage.locations import join
from chunkscale.text import some_names
from chunkscale.verify.image import UNFINISHED, check_image, record_of
from chunkscale.verify.report import CheckReport
from chunkscale.verify.tally import Tally


def check_dataset(
    uri: str,
    source: object,
    io: StoreIO,
    sizes: Sizes | None = None,
    *,
    full: bool = False,
    tally: Tally | None = None,
) -> CheckReport:
    """Check an image and its labels, or every image of a collection; see `chunkscale.check`."""
    tally = tally or Tally()
    collection = open_collection(uri)
    if collection is None:
        return _with_labels(uri, source, io, sizes, full=full, tally=tally)
    if not (source is None or isinstance(source, str)):
        raise OptionError(
            f"{uri!r} is a collection; give the path of the collection that it was made from"
        )
    faults: list[str] = []
    record = record_of(collection.attributes)
    if record.get("state") == "unfinished":
        faults.append(UNFINISHED)

    def tell(notice: Notice) -> None:
        if notice.kind == "metadata":
            faults.append(str(notice))

    for notice in collection.notices:
        tell(notice)
    report = CheckReport(path=uri, faults=(), images=0)
    names = list(collection.images(tell))
    tally.images = len(names)
    for name in names:
        origin = join(source, name) if isinstance(source, str) else None
        try:
            found = _with_labels(join(uri, name), origin, io, sizes, full=full, tally=tally)
        except ChunkscaleError as error:
            found = CheckReport(path=uri, faults=(str(error),))
        report = report.beside(found, name)
    wanted = record.get("image_count")
    if isinstance(wanted, int) and wanted != report.images - report.labels:
        faults.append(
            f"it lists {report.images - report.labels} images, and the run that wrote it made "
            f"{wanted}"
        )
    return replace(report, faults=(*faults, *report.faults))


def _with_labels(
    uri: str, source: object, io: StoreIO, sizes: Sizes | None, *, full: bool, tally: Tally
) -> CheckReport:
    labels, _ = label_paths(uri)
    tally.images += len(labels)
    report = check_image(uri, source, io, sizes, full=full, tally=tally)
    made = record_of(group_document(uri).attributes).get("labels")
    lost = [path for path in made if path not in labels] if isinstance(made, list) else []
    if lost:
        fault = (
            f"the labels {some_names(lost)} that belong to it are missing or not listed; "
            "continue with resume=True (--resume)"
        )
        report = replace(report, faults=(*report.faults, fault))
    place = _place_of(source)
    theirs = label_paths(place)[0] if place and labels else ()
    for path in labels:
        origin = join(place, path) if path in theirs else None
        # What the source's labels were taken to be is in the record of ours.
        own = sizes if source is None else None
        said = _checked(join(uri, path), origin, io, own, full=full, tally=tally)
        if source is not None and origin is None:
            note = "it was not compared: the source has no such labels"
            said = replace(said, notes=(*said.notes, note))
        report = report.beside(replace(said, labels=1), path)
    return report


def _place_of(source: object) -> str:
    """Return where the image lies that something was made from; nothing if it has no place."""
    while isinstance(source, Part):
        source = source.source
    return source if isinstance(source, str) else getattr(source, "uri", "")


def _checked(
    uri: str, source: str | None, io: StoreIO, sizes: Sizes | None, *, full: bool, tally: Tally
) -> CheckReport:
    """Check one image; what keeps it from being opened is a fault of it."""
    try:
        return check_image(uri, source, io, sizes, full=full, tally=tally)
    except ChunkscaleError as error:
        return CheckReport(path=uri, faults=(str(error),))
