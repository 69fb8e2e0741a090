"""Mirrors of collections, whose images are resampled one by one."""

import warnings

import chunkscale
from chunkscale.errors import ChunkscaleWarning
from chunkscale.output.collection import begin_collection, begin_member
from chunkscale.output.collection_places import checked_collection
from chunkscale.output.collection_publish import publish_collection
from chunkscale.parameters import Existing
from chunkscale.sources.chosen import chosen
from chunkscale.sources.collections import open_collection

ANEW, OVER, ON = Existing(), Existing(overwrite=True), Existing(resume=True)
RECIPE = {"factor": [1, 2]}


def begin(source, out, version="0.5", existing=ANEW, recipe=RECIPE):
    found = open_collection(source)
    target = checked_collection(out, found, existing)
    return begin_collection(target, found, recipe, version, existing)


def fill(mirror, source, patterns=None, **options):
    """Resample images one by one; return those that were."""
    images = list(chosen(open_collection(source), patterns))
    given = {"zoom": 2.0, "levels": 1, "ome_zarr_version": mirror.version, "workers": 1, **options}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ChunkscaleWarning)  # their places are not lost
        for path in images:
            chunkscale.resample(f"{source}/{path}", begin_member(mirror, path), **given)
    return images


def mirrored(source, out, version="0.5", patterns=None, existing=ANEW, **options):
    mirror = begin(source, out, version, existing)
    images = fill(mirror, source, patterns, **options)
    return publish_collection(mirror, open_collection(source), images)
