"""What another writer says of an image's metadata."""

from __future__ import annotations

from chunkscale.sources.image import Image
from chunkscale.storage.groups import compose_multiscales

#: Versions that every ome-zarr that can be installed writes.
_KNOWN = ("0.4", "0.5")


def second_opinion(image: Image) -> tuple[list[str], list[str]]:
    """Let ome-zarr compose the metadata of an image anew.

    Returns
    -------
    faults : list of str
        What it refuses.
    notes : list of str
        Why it was not asked.
    """
    if image.multiscale.version not in _KNOWN:
        return [], []
    entry = image.multiscale.raw
    try:
        compose_multiscales(
            version=image.multiscale.version, axes=entry["axes"], datasets=entry["datasets"]
        )
    except ImportError as error:
        return [], [
            f"ome-zarr cannot be imported ({error}), so it was not asked about the metadata; run "
            "without -OO (PYTHONOPTIMIZE=2), which it does not bear, or install it again"
        ]
    except Exception as error:  # whatever it raises, it would not have written them
        return [f"ome-zarr refuses the axes or the datasets of its metadata: {error}"], []
    return [], []
