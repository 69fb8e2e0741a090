"""Look at images in a browser."""

from __future__ import annotations

import warnings
import webbrowser
from collections.abc import Sequence
from typing import Any, Self

from numpy.typing import ArrayLike

from chunkscale import options
from chunkscale.api.defaults import PICTURE_PERCENTILES
from chunkscale.api.overlays import Over, name_of, overlays, warn_unlabelled
from chunkscale.api.subjects import active_channels, opened_together
from chunkscale.errors import ChunkscaleWarning, OptionError
from chunkscale.ome.display import channel_labels
from chunkscale.ome.versions import ngff_namespace
from chunkscale.parameters import PathLike, StorageOptions, VoxelSize
from chunkscale.sources.base import Source
from chunkscale.viewing import page
from chunkscale.viewing.layers import Shown, scene_of
from chunkscale.viewing.volumes import served_dtype


class Viewing:
    """A page with images, which is served until it is closed, or the process ends.

    Made by `view`. It is a context manager, and a notebook shows its link.
    """

    def __init__(self, served: page.Page) -> None:
        self._page = served

    @property
    def url(self) -> str:
        """Of the page. Whoever knows it can see the images, from this machine."""
        return self._page.url

    @property
    def state(self) -> dict[str, Any]:
        """What the page showed at first: the state of Neuroglancer as JSON values."""
        return self._page.state

    def close(self) -> None:
        """Stop serving; a page that is open keeps what it has."""
        self._page.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Viewing: {self.url}>"

    def _repr_html_(self) -> str:
        return f'<a href="{self.url}" target="_blank">{self.url}</a>'


def view(
    source: PathLike | Source | ArrayLike,
    *others: PathLike | Source | ArrayLike,
    labels: bool | str | Sequence[Any] = False,
    overlay: bool = False,
    browser: bool = True,
    port: int = 0,
    source_voxel_size: VoxelSize | None = None,
    axes: str | None = None,
    source_unit: str | None = None,
    storage_options: StorageOptions | None = None,
) -> Viewing:
    """Show images in a browser, in one physical space.

    The page is Neuroglancer, served from this process to this machine alone; nothing is loaded
    from the internet. Voxels are read when the page asks for them, from the stored level that it
    needs. Images stand side by side and move together. Needs Neuroglancer:
    ``pip install 'chunkscale[view]'``.

    Parameters
    ----------
    source : str, path-like, Image or array
        What `open_image` and `resample` take.
    *others : str, path-like, Image or array
        Shown beside it: what was made of it, say. Label images are shown in colours.
    labels : bool, str or sequence, default False
        Show labels over the images: True for all that an image has, names (``"nuclei,cells"``),
        or label images (paths, or as `source`).
    overlay : bool, default False
        Show all over one another, green and magenta: where two agree they are white.
    browser : bool, default True
        Open the page.
    port : int, default 0
        Of this machine; 0 for any that is free.
    source_voxel_size, axes, source_unit : optional
        Of `source`, where it does not say them; see `open_image`.
    storage_options : mapping, optional
        See `open_image`.

    Returns
    -------
    Viewing
        Its ``url`` is the page; ``close()`` ends it.

    Raises
    ------
    OptionError
        If Neuroglancer is missing, an option makes no sense, or the port is taken.

    Warns
    -----
    ChunkscaleWarning
        If some channels are not shown, or voxels are shown with less precision.
    """
    page.require()
    if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port < 2**16:
        raise OptionError(f"port {port!r} must be 0 to {2**16 - 1}")
    said = {"source_voxel_size": source_voxel_size, "axes": axes, "source_unit": source_unit}
    opened = opened_together(source, others, said, storage_options)
    over = Over(labels=labels, like=opened[0], axes=axes, reach=storage_options)
    shown = [_shown(found, over) for found in opened]
    warn_unlabelled(over, opened, (image.labels for image in shown))
    scene = scene_of(shown, PICTURE_PERCENTILES, overlay=overlay)
    served = Viewing(page.Page(scene, port))
    if browser:
        webbrowser.open(served.url)
    return served


def _shown(source: Source, over: Over) -> Shown:
    """Return what is shown of an image, and say what is not."""
    title, dtype, grid = name_of(source), source.array.dtype, source.grid
    options.check_dtype(f"{title!r}", dtype)
    is_label = source.is_label and dtype.kind in "iub"
    served = served_dtype(dtype, is_label=is_label)
    if served.name == "float32" and dtype.name not in ("float32", "float16"):
        _warn(f"{title!r} is shown as float32, with less precision than {dtype.name}")
    total = 1 if grid.channel_axis is None else grid.shape[grid.channel_axis]
    channels = active_channels(source, total)
    if len(channels) < total:
        _warn(f"{title!r} is shown with {len(channels)} of its {total} channels")
    names = channel_labels(ngff_namespace(source.attributes), grid)
    named = names or {i: f"channel {i}" for i in channels}
    drawn = [] if source.is_label else overlays(source, over)
    return Shown(
        source=source,
        title=title,
        channels=tuple((i, named[i] if total > 1 else "") for i in channels),
        labels=tuple((found, name_of(found)) for found in drawn),
    )


def _warn(text: str) -> None:
    warnings.warn(ChunkscaleWarning(text), stacklevel=4)
