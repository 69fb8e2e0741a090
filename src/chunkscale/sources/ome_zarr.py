"""Opening an OME-Zarr image."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from chunkscale.errors import (
    AccessDeniedError,
    GridError,
    MetadataError,
    MultipleImagesError,
    NotAnImageError,
    OptionError,
    SourceNotFoundError,
)
from chunkscale.geometry.grid import refuse_far
from chunkscale.ome.carry import mended
from chunkscale.ome.extents import shapes_text
from chunkscale.ome.model import Collection, Multiscale
from chunkscale.ome.read import describe, grid_of
from chunkscale.ome.rules import metadata_notices
from chunkscale.ome.units import in_unit, unit_notices, united
from chunkscale.sources.base import Sizes, SourceOptions, keeping
from chunkscale.sources.collections import list_images
from chunkscale.sources.contradictions import Facts, contradictions, missing_first, ordered
from chunkscale.sources.documents import group_document
from chunkscale.sources.formats import other_format
from chunkscale.sources.image import Image
from chunkscale.sources.left_behind import label_paths, place_notices, place_of
from chunkscale.sources.several import several_images
from chunkscale.storage.documents import array_facts, refuse_two_arrays
from chunkscale.storage.engine import StoreIO
from chunkscale.storage.locations import above, join
from chunkscale.storage.reader import ArrayReader, open_array
from chunkscale.storage.stores import normalise


def ome_zarr_source(given: object, options: SourceOptions) -> Image | None:
    """Open a path; an open image stays as it is, unless sizes or a unit are given."""
    if not isinstance(given, Image | str | bytes | os.PathLike):
        return None
    for option, value in (
        ("axes", options.axes),
        ("source_translation", options.translation),
    ):
        if value is not None:
            raise OptionError(
                f"{option} {value!r} applies to arrays and files that do not state it; an "
                "OME-Zarr image does, so leave it out"
            )
    if isinstance(given, Image):
        if options.sizes is None and options.unit is None:
            return given
        options = replace(
            options,
            sizes=keeping(given.given, given.grid, options.sizes, options.unit),
            unit=given.unit if options.unit is None else options.unit,
        )
        uri = given.uri
    else:
        uri = normalise(cast(str, given), options.reach)  # which refuses bytes
    reach: Any = {"io": options.io, "mirrored": options.mirrored}
    return open_ome_zarr(uri, sizes=options.sizes, unit=options.unit, **reach)


def open_ome_zarr(
    path: str | os.PathLike[str],
    *,
    sizes: Sizes | None = None,
    unit: str | None = None,
    io: StoreIO,
    mirrored: bool = False,
) -> Image:
    """Open one image; see `chunkscale.open_image` and `SourceOptions`."""
    uri = normalise(path)
    try:
        document = group_document(uri)
    except SourceNotFoundError as error:
        if not (hint := other_format(uri)) or isinstance(error, AccessDeniedError):
            raise
        raise SourceNotFoundError(f"{error}; {hint}") from error
    attributes = document.attributes
    listed = _described(uri, attributes)
    if isinstance(listed, Collection):
        raise several_images(uri, listed.kind, list_images(uri, document, listed))
    facts = array_facts((join(uri, d.path) for d in listed.datasets), document.zarr_format)
    found, levels = ordered(listed, facts)
    if document.zarr_format == 2:
        refuse_two_arrays(join(uri, found.datasets[0].path))
    array = _level_0(uri, found, levels, io)
    if unit is not None:
        named = in_unit(found, unit)
        unit = unit if named.axes != found.axes else None  # which the metadata say
        found = named
    units = {axis.name: axis.unit for axis in found.axes if axis.kind == "space"}
    given = {} if sizes is None else dict(sizes(units, len(found.axes)))
    stated = found
    found = united(found, given)
    try:
        grid = grid_of(found, 0, array.shape, given)
        refuse_far(grid)
    except (MetadataError, GridError) as error:
        raise type(error)(f"{uri!r}: {error}") from error
    # To look for it takes longer than the rest, and of what is mirrored only labels have to know.
    place = None if mirrored and not above(uri).endswith("/labels") else place_of(uri)
    if place is not None and place.collection.kind == "labels":  # not all writers mark them
        found = replace(found, is_label=True)
    labels, unclear = label_paths(uri)
    return Image(
        uri=uri,
        attributes=attributes,
        multiscale=found,
        grid=grid,
        array=array,
        labels=labels,
        given=given,
        unit=unit,
        shapes=tuple(fact.shape for fact in levels),
        notices=(
            *document.notices,
            *unit_notices(stated, found),
            *metadata_notices(attributes, found, given),
            *mended(attributes, grid, array.dtype.name)[1],
            *contradictions(listed, facts, array),
            *(() if mirrored or place is None else place_notices(place)),
            *unclear,
        ),
    )


def _described(uri: str, attributes: Mapping[str, Any]) -> Multiscale | Collection:
    try:
        return describe(attributes)
    except NotAnImageError as error:
        state = attributes.get("chunkscale")
        if isinstance(state, Mapping) and state.get("state") == "unfinished":
            raise NotAnImageError(
                f"{uri!r} is the output of a run that did not finish; continue with resume=True "
                "(--resume), or replace it with overwrite=True (--overwrite)"
            ) from error
        raise NotAnImageError(f"{uri!r}: {error}") from error
    except MultipleImagesError as error:
        raise MetadataError(
            f"{uri!r} has several multiscales entries in one group, which a path cannot tell "
            f"apart; give each image a group of its own ({error})"
        ) from error
    except MetadataError as error:
        raise type(error)(f"{uri!r}: {error}") from error


def _level_0(uri: str, image: Multiscale, facts: Facts, io: StoreIO) -> ArrayReader:
    """Open the largest level; a smaller one must not pass for it."""
    missing = missing_first(image, facts)
    path = image.datasets[missing or 0].path
    try:
        if missing:
            raise SourceNotFoundError(f"it {facts[missing].problem}, and by its scale it is finer")
        return open_array(join(uri, path), io, facts[0].document)
    except SourceNotFoundError as error:
        paths = [dataset.path for dataset in image.datasets]
        there = shapes_text(paths, [fact.shape for fact in facts])
        remedy = there and (
            f"; there are {there}: restore {path!r}, or remove it from the list of datasets to "
            "use the others"
        )
        raise SourceNotFoundError(
            f"the metadata of {uri!r} names the array {path!r}, which cannot be opened: "
            f"{error}{remedy}"
        ) from error
