"""Plan an image together with its labels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from numpy.typing import ArrayLike

from chunkscale.api.grids import leveled, opened_like
from chunkscale.api.images import open_source, selected
from chunkscale.api.labels import planned_labels
from chunkscale.api.plans import Means, PlannedImage, plan_source
from chunkscale.api.request import Request
from chunkscale.ome.further import coordinate_notices
from chunkscale.output.destination import unfinished
from chunkscale.parameters import PathLike
from chunkscale.sources.base import Source
from chunkscale.sources.coordinates import coordinates_of


def planned_image(
    source: PathLike | Source | ArrayLike,
    request: Request,
    means: Means,
    *,
    destination: str | None,
    resume: bool,
    mirrored: bool = False,
) -> list[PlannedImage]:
    """Plan an image, which comes first, and its labels.

    Of a collection that is made whole each is `mirrored`: its place is not lost.
    """
    image = open_source(
        source, **request.opening, storage_options=request.storage.reach, mirrored=mirrored
    )
    image = selected(image, *map(request.selection.get, ("channels", "timepoints", "crop")))
    target = opened_like(image, request.target, request.storage.reach)
    image, notices = leveled(image, request.level, target)
    place: Any = {"destination": destination, "resume": resume}
    plan = plan_source(image, target, request.layout, means, notices=notices, **place)
    # What is left of labels goes with their image, if that is begun anew.
    place["resume"] = resume and destination is not None and unfinished(destination) is not None
    labels, found = planned_labels(image, plan, request, means, mirrored=mirrored, **place)
    # Transformations may lead to labels that do not go along.
    assumed, known = (
        coordinate_notices(coordinates_of(image, plan.target_grid.axes, beside), plan.ngff_version)
        for beside in (None, [label.name for label in labels])
    )
    said = (notice for notice in plan.warnings if notice not in assumed)
    plan = replace(
        plan,
        labels=tuple((label.name, label.plan) for label in labels),
        warnings=tuple(dict.fromkeys((*said, *known, *found))),
    )
    return [PlannedImage(plan=plan, source=image), *labels]
