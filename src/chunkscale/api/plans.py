"""Plan for a source that is open."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from chunkscale import options
from chunkscale.api.defaults import CHUNK_EDGES
from chunkscale.api.grids import fill_value, source_and_target
from chunkscale.api.resources import check_here, limits_at, places
from chunkscale.errors import MemoryBudgetError, Notice, OptionError
from chunkscale.geometry.grid import VoxelGrid, aligned_grid
from chunkscale.geometry.pyramid import Layout
from chunkscale.ome.carry import carried
from chunkscale.ome.further import coordinate_notices
from chunkscale.ome.versions import ngff_namespace
from chunkscale.output.destination import unfinished
from chunkscale.output.record import check_same, recipe, stored_layout
from chunkscale.parameters import Resources, StorageLayout, Target
from chunkscale.plan.memory import Limits
from chunkscale.plan.model import ResamplePlan, Resampling, SourceArray
from chunkscale.plan.planner import make_plan
from chunkscale.run.connect import connect
from chunkscale.sources.base import Source
from chunkscale.sources.coordinates import coordinates_of
from chunkscale.sources.parts import part_text
from chunkscale.sources.picked import decoded_share, library_bytes
from chunkscale.storage.locations import join
from chunkscale.storage.stores import store_of

if TYPE_CHECKING:
    from chunkscale.run.dask_cluster import DaskCluster


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedImage:
    """An image that a run makes.

    Parameters
    ----------
    name : str
        Path below the destination; empty for what lies there itself.
    owner : str
        Name of the image that it is, or whose labels it is.
    plan : ResamplePlan
    source : Source
        As it is read for the plan.
    """

    name: str = ""
    owner: str = ""
    plan: ResamplePlan
    source: Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A plan that images share which are alike: with the same metadata, too.

    Parameters
    ----------
    plan : ResamplePlan
    said : object
        Their attributes.
    mended : tuple of Notice
        What these attributes are mended of.
    """

    plan: ResamplePlan
    said: Any
    mended: tuple[Notice, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What a run may use, where it runs; the same for all of its images.

    Parameters
    ----------
    limits : tuple of Limits
        Of the devices that it may take, the best first.
    is_given : bool
        Whether the memory was asked for.
    cluster : DaskCluster, optional
    known : dict
        Plans of images that were planned before, by all that a plan depends on.
    """

    limits: tuple[Limits, ...]
    is_given: bool
    cluster: DaskCluster | None
    known: dict[Any, Known] = field(default_factory=dict, compare=False, repr=False)


def means_of(resources: Resources, client: Any) -> Means:
    """Look at what this machine, or the cluster, has to offer."""
    with connect(client) as cluster:
        devices = places(resources, cluster)
        limits = tuple(limits_at(resources, cluster, place) for place in devices)
    return Means(limits=limits, is_given=resources.memory is not None, cluster=cluster)


def plan_source(
    image: Source,
    target: Target,
    layout: StorageLayout,
    means: Means,
    *,
    destination: str | None = None,
    resume: bool = False,
    notices: Sequence[Notice] = (),
) -> ResamplePlan:
    """Plan for a source that is open; see `plan_resampling`.

    Images that are alike share a plan, but for what each says of itself.
    """
    if not image.uri:
        if resume:
            raise OptionError(
                f"resume needs a source that can be identified later, and an {image.path} cannot "
                "be; store it as OME-Zarr first, or start again with overwrite=True"
            )
        check_here(image.path, means.cluster)
    like = target.like if isinstance(target.like, VoxelGrid) else repr(target.like)
    key = (_facts(image), repr(replace(target, like=None)), like, repr(layout), destination)
    known = means.known.get(key)
    said = _nameless(image.attributes)
    if known is None or known.said != said:
        if known is not None:
            plan = known.plan
        else:
            what = _what(image, target, layout)
            plan = _planned(what, image, layout, means, destination=destination, resume=resume)
        known = Known(plan=plan, said=said, mended=_mended(image, plan))
        if not resume:
            means.known[key] = known
        while len(means.known) > _MOST_KNOWN:
            del means.known[next(iter(means.known))]
    plan = known.plan
    return replace(
        plan,
        source=replace(plan.source, uri=image.uri, path=image.path),
        warnings=tuple(dict.fromkeys((*image.notices, *known.mended, *notices, *plan.warnings))),
    )


#: More kinds of images are rare in a collection.
_MOST_KNOWN = 64


def _facts(image: Source) -> tuple[Any, ...]:
    """Return all of a source that a plan depends on."""
    array = image.array
    return (
        *(image.whole, image.array_grid, image.grid, repr(image.part)),
        *(array.shape, array.dtype.str, array.chunk, decoded_share(array)),
        *(bool(image.uri), image.is_label, image.opaque),
    )


def _mended(image: Source, plan: ResamplePlan) -> tuple[Notice, ...]:
    """Return what its attributes are mended of in an output, and what that cannot hold."""
    origin = aligned_grid(image.whole, plan.target_grid)
    notices = carried(image.attributes, origin, plan.target_grid, plan.dtype)[1]
    made = coordinates_of(image, plan.target_grid.axes)
    return (*notices, *coordinate_notices(made, plan.ngff_version))


def _nameless(attributes: Mapping[str, Any]) -> Any:
    """Return attributes without the name, which each image of a collection has for itself."""
    ngff = ngff_namespace(attributes)
    entries = ngff.get("multiscales")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        return attributes
    plain = [{key: entry[key] for key in entry if key != "name"} for entry in entries]
    rest = {key: attributes[key] for key in attributes if key != "ome"}
    return {**ngff, "multiscales": plain}, rest if ngff is not attributes else None


def _planned(
    what: Resampling,
    image: Source,
    layout: StorageLayout,
    means: Means,
    *,
    destination: str | None,
    resume: bool,
) -> ResamplePlan:
    """Return the cheapest plan, or what continues the output that is there."""
    make = partial(
        make_plan,
        what,
        levels=options.positive("levels", layout.levels),
        free_disk=None if destination is None else store_of(destination).free_bytes(destination),
    )
    more = library_bytes(image.array)
    limits = [replace(x, bystanders=x.bystanders + more) for x in means.limits]
    layouts = partial(options.layouts, what.target_grid, edges=CHUNK_EDGES)
    if resume and destination is not None:
        found = unfinished(destination)
        if found is not None:
            stored = stored_layout(found)
            if not means.is_given:
                # What is free differs from run to run, and must not keep one from being continued.
                limits += [_raised(x, stored.memory) for x in limits]
            # A shard that is asked for goes with the chunk that is there.
            inner = layout if layout.chunk is not None else replace(layout, chunk=stored.chunk)
            wanted = recipe(_first_that_fits(make, limits, layouts(inner)), image)
            check_same(destination, found, wanted, asked=layout.asked)
            again = partial(
                make, regions=stored.regions, levels=stored.levels, shards=stored.shards
            )
            return _first_that_fits(again, limits, [(Layout(chunk=stored.chunk), False)])
    return _first_that_fits(make, limits, layouts(layout))


def _raised(limits: Limits, memory: int) -> Limits:
    """Return limits with the memory of an earlier run, as far as the system gives it."""
    most = memory if limits.ceiling is None else min(memory, limits.ceiling)
    if most <= limits.memory:
        return limits
    return replace(limits, memory=most, memory_from="the run that is being resumed")


def _what(
    image: Source,
    target: Target,
    layout: StorageLayout,
) -> Resampling:
    """Return what is to be computed; refuse what cannot be."""
    array = image.array
    options.check_dtype(
        f"array {join(image.uri, image.path)!r}" if image.uri else f"the {image.path}", array.dtype
    )
    method = options.method(target.method, image.is_label, target.antialias)
    source_grid, target_grid, said = source_and_target(image.whole, target, image.grid)
    if image.array_grid != image.whole:
        source_grid = aligned_grid(image.array_grid, target_grid)
    return Resampling(
        source=SourceArray(
            uri=image.uri,
            path=image.path,
            shape=array.shape,
            dtype=array.dtype.name,
            chunk=array.chunk,
            is_label=image.is_label,
            recomputed=image.opaque,
            part=part_text(image.part),
            decoded_share=decoded_share(array),
        ),
        source_grid=source_grid,
        target_grid=target_grid,
        method=method,
        antialias=target.antialias,
        outside=fill_value(target, array.dtype.name),
        pyramid=options.pyramid_rule(layout.pyramid),
        downsample=options.downsample(layout.downsample, method, image.is_label),
        ngff_version=layout.version,
        codec=layout.codec,
        checksum=layout.checksum,
        notices=said,
    )


def _first_that_fits(
    make: Callable[..., ResamplePlan],
    limits: Iterable[Limits],
    layouts: Iterable[tuple[Layout, bool]],
) -> ResamplePlan:
    refusal: MemoryBudgetError | None = None
    for limit, (layout, shards) in itertools.product(limits, layouts):
        try:
            return make(limits=limit, layout=layout, shard=shards)
        except MemoryBudgetError as error:
            refusal = error
    assert refusal is not None
    raise refusal
