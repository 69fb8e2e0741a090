"""Make the images that were written a collection: its documents, that of the root last of all."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from chunkscale.errors import Notice, RegionError
from chunkscale.ome.carry import json_safe
from chunkscale.ome.plates import layout_of, mirrored_plate, mirrored_well
from chunkscale.ome.scenes import (
    SCENES,
    kept_scenes,
    mirrored_scene,
    say_for,
    scene_notices,
    scene_of,
)
from chunkscale.ome.versions import holds_ngff, holds_systems
from chunkscale.ome.write import beside_unknown
from chunkscale.output.collection import STATE_KEYS, Mirror, group_place
from chunkscale.output.collection_ome import mirror_ome
from chunkscale.output.collection_places import is_made_image
from chunkscale.output.places import drop_strays
from chunkscale.output.provenance import public_text, published
from chunkscale.sources.collections import CollectionSource
from chunkscale.sources.documents import documents, each
from chunkscale.sources.folders import Tell
from chunkscale.storage.documents import stored_group
from chunkscale.storage.groups import group_attributes, put_group
from chunkscale.storage.locations import join


def publish_collection(
    mirror: Mirror,
    source: CollectionSource,
    images: Iterable[str],
    told: Iterable[Notice] = (),
) -> tuple[Notice, ...]:
    """Make a collection of images that are all published; an interrupted one can be repeated.

    Parameters
    ----------
    mirror : Mirror
    source : CollectionSource
    images : iterable of str
        Paths of the images that were made.
    told : iterable of Notice
        What was said of the source when it was listed, for the record.

    Returns
    -------
    tuple of Notice
        What was mended, or is left out, and was not said before.

    Raises
    ------
    RegionError
        If one of the images is not finished, or if another run has replaced the collection.
    """
    made = frozenset(images)
    _check_finished(mirror, made)
    notices: dict[Notice, None] = {}
    attributes = _mirrored(mirror, source, "", made, notices.setdefault)
    record = {name: value for name, value in mirror.record.items() if name not in STATE_KEYS}
    record |= {"image_count": len(made), "state": "finished"}
    scenes = {**kept_scenes(source.attributes), **mirror.scenes}
    if kept := {path: scene for path, scene in scenes.items() if scene}:  # others have come back
        record[SCENES] = json_safe(kept)[0]
    before: dict[Notice, None] = {}
    for notice in (*source.notices, *told):
        say_for(mirror.version, before.setdefault, notice)
    if said := before | notices:
        record["notices"] = [public_text(str(notice), source.uri) for notice in said]
    record = published(record)
    there = group_attributes(mirror.uri).get("chunkscale")
    if there not in (mirror.record, record):
        raise RegionError(
            f"the output {mirror.uri!r} was replaced by another run while this one was writing "
            "it; run one of them again"
        )
    for group in ("", *mirror.groups):
        drop_strays(join(mirror.uri, group))
        drop_strays(join(mirror.uri, group, "OME"))
    finished = {**attributes, "chunkscale": record}
    # From here on a reader takes the group for a collection.
    put_group(mirror.uri, zarr_format=mirror.zarr_format, attributes=finished)
    return tuple(notice for notice in notices if notice not in before)


def _check_finished(mirror: Mirror, made: AbstractSet[str]) -> None:
    paths = sorted(made)
    groups = each(stored_group, (join(mirror.uri, path) for path in paths))
    for path, found in zip(paths, groups, strict=True):
        whole = found is not None and is_made_image(found) and holds_ngff(found)
        if not whole or (found or {})["chunkscale"]["state"] != "finished":
            raise RegionError(
                f"the image {path!r} of the output {mirror.uri!r} is not finished, so the "
                "collection is incomplete; continue with resume=True (--resume)"
            )
    if not paths:
        raise RegionError(f"no image of the output {mirror.uri!r} is finished")


def _mirrored(
    mirror: Mirror, source: CollectionSource, prefix: str, made: AbstractSet[str], tell: Tell
) -> dict[str, Any]:
    """Write what lies below a collection; return the attributes of its own group."""
    if source.kind == "plate":
        result = _plate(mirror, source, prefix, made, tell)
    elif source.kind == "well":
        result, well, notices = mirrored_well(source.attributes, mirror.version, "", made)
        _check_listed(mirror, source, well.fields, len(made))
        _tell_of(source.uri, notices, tell)
    else:
        attributes, notices = json_safe(source.attributes)
        _tell_of(source.uri, notices, tell)
        if source.kind == "bioformats2raw":
            result = beside_unknown(attributes, mirror.version, layout_of(attributes))
        else:
            _nested(mirror, source, prefix, made, tell)
            result = _scene(mirror, source, attributes, prefix, made, tell)
    if source.has_layout:
        mirror_ome(mirror, source, prefix, made, tell)
    return result


def _scene(
    mirror: Mirror,
    source: CollectionSource,
    attributes: Mapping[str, Any],
    prefix: str,
    made: AbstractSet[str],
    tell: Tell,
) -> dict[str, Any]:
    """Return the attributes of a scene, or of a folder, which is nothing that has a version."""
    scene, found, path = scene_of(attributes), None, prefix.rstrip("/")
    if scene and holds_systems(mirror.version):
        found, left, losses = mirrored_scene(scene, made)
        mirror.scenes[path] = left
        for notice in scene_notices(source.uri, losses):
            tell(notice)
    elif scene:
        mirror.scenes[path] = dict(scene)  # which was said when it was listed
    if found is None:
        return beside_unknown(attributes, "0.4", {})
    return beside_unknown(attributes, mirror.version, {"scene": found})


def _nested(
    mirror: Mirror, source: CollectionSource, prefix: str, made: AbstractSet[str], tell: Tell
) -> None:
    """Mirror the collections that lie in a folder."""
    steps = (itertools.accumulate(path.split("/"), "{}/{}".format) for path in made)
    known = set(itertools.chain.from_iterable(steps))
    found = source.members(within=known.__contains__)
    inside = {path: inner for path, inner in found if inner is not None}
    for path, paths in _by_group(made, inside).items():
        attributes = _mirrored(mirror, inside[path], f"{prefix}{path}/", paths, tell)
        at = group_place(mirror, prefix + path)
        put_group(at, zarr_format=mirror.zarr_format, attributes=attributes)


def _by_group(made: Iterable[str], groups: Collection[str]) -> dict[str, set[str]]:
    """Return the paths of images by the group that they lie in, relative to it.

    Examples
    --------
    >>> _by_group(["B/03/0", "B/04/1", "x"], {"B/03", "B/04"})
    {'B/03': {'0'}, 'B/04': {'1'}}
    """
    known, found = set(groups), defaultdict(set)
    for path in made:
        group = path
        while "/" in group:
            group = group.rpartition("/")[0]
            if group in known:
                found[group].add(path[len(group) + 1 :])
                break
    return dict(found)


def _plate(
    mirror: Mirror, source: CollectionSource, prefix: str, made: AbstractSet[str], tell: Tell
) -> dict[str, Any]:
    below = _by_group(made, source.paths)
    listed = [well for well in source.paths if well in below]
    wells = []
    found = documents(join(source.uri, well) for well in listed)
    for path, document in zip(listed, found, strict=True):
        if isinstance(document, Exception):
            raise document
        attributes, well, notices = mirrored_well(
            document.attributes, mirror.version, path, below[path]
        )
        _tell_of(join(source.uri, path), notices, tell)
        at = group_place(mirror, prefix + path)
        put_group(at, zarr_format=mirror.zarr_format, attributes=attributes)
        wells.append(well)
    _check_listed(mirror, source, sum(well.fields for well in wells), len(made))
    name = source.uri.replace("\\", "/").rstrip("/").rpartition("/")[2]
    result, notices = mirrored_plate(source.attributes, mirror.version, wells, name)
    _tell_of(source.uri, notices, tell)
    return result


def _check_listed(mirror: Mirror, source: CollectionSource, listed: int, made: int) -> None:
    if listed != made:
        raise RegionError(
            f"{source.uri!r} lists {listed} of the {made} images that were made of it, so "
            f"{mirror.uri!r} stays unfinished: it has changed; start again with overwrite=True "
            "(--overwrite)"
        )


def _tell_of(uri: str, notices: Iterable[Notice], tell: Tell) -> None:
    for notice in notices:
        tell(Notice(notice.kind, f"{uri!r}: {notice.text}"))
