"""Every exception and warning of the package.

All errors derive from `ChunkscaleError` and from the builtin that a caller
would catch without knowing this package. A message names the thing, the
value and the remedy.
"""

from dataclasses import dataclass

from chunkscale.text import escaped, spoken


class ChunkscaleError(Exception):
    """Base class of every error that this package raises on purpose."""

    def __str__(self) -> str:
        # Metadata are repeated, and may steer a terminal.
        return escaped(spoken(super().__str__()))


class GridError(ChunkscaleError, ValueError):
    """A voxel grid, or a pair of them, makes no sense."""


class OptionError(ChunkscaleError, ValueError):
    """An option has a value that cannot be honoured."""


class NoUnitError(OptionError):
    """Voxel sizes are given in a unit, and the source has none: it can be taken for the source's.

    Attributes
    ----------
    unit : str
    """

    def __init__(self, message: str, unit: str = "") -> None:
        super().__init__(message)
        self.unit = unit


class UnstatedError(OptionError):
    """A file or an array does not state its axes or its voxel size, and nobody else does.

    Attributes
    ----------
    sizes : tuple of str
        Axes whose voxel size is missing.
    axes : str
        Names that its axes could have, where they are not known: as many as it has.
    stated : str
        What is known of them, with other letters for the others.
    """

    def __init__(
        self, message: str, *, sizes: tuple[str, ...] = (), axes: str = "", stated: str = ""
    ) -> None:
        super().__init__(message)
        self.sizes = sizes
        self.axes = axes
        self.stated = stated


class MetadataError(ChunkscaleError, ValueError):
    """OME-NGFF metadata breaks a MUST of its specification."""


class NotAnImageError(MetadataError):
    """The path holds no multiscale image (and no collection of images)."""


class MultipleImagesError(MetadataError):
    """The path holds several images, and none of them was asked for.

    Attributes
    ----------
    paths : tuple of str
        Paths of the images, relative to the path that was opened.
    """

    def __init__(self, message: str, paths: tuple[str, ...]) -> None:
        super().__init__(message)
        self.paths = paths

    def __reduce__(self) -> tuple[type, tuple[str, tuple[str, ...]]]:
        return type(self), (self.args[0], self.paths)


class SourceNotFoundError(ChunkscaleError, FileNotFoundError):
    """A path or URL, or an array that metadata names, does not exist."""


class AccessDeniedError(SourceNotFoundError, PermissionError):
    """A store refuses access; whether anything is there cannot be told."""


class DestinationError(ChunkscaleError, FileExistsError):
    """The output path is taken, or lies where it must not."""


class MemoryBudgetError(ChunkscaleError, ValueError):
    """No region is small enough for the memory that was allowed."""


class DeviceError(ChunkscaleError, RuntimeError):
    """The requested compute device cannot be used."""


class ForkError(ChunkscaleError, RuntimeError):
    """A forked process would use what only the process can that it was forked from."""


class CorruptChunkError(ChunkscaleError, OSError):
    """A stored chunk cannot be read or decoded.

    Attributes
    ----------
    transient : bool
        Whether the store may answer if it is asked again.
    """

    def __init__(self, message: str, *, transient: bool = False) -> None:
        super().__init__(message)
        self.transient = transient


class ClusterError(ChunkscaleError, RuntimeError):
    """A Dask cluster cannot do the work, or was lost."""


class RegionError(ChunkscaleError, RuntimeError):
    """A region of the output could not be finished."""


class ChunkscaleWarning(UserWarning):
    """Base class of the package's warnings."""

    def __str__(self) -> str:
        return escaped(spoken(super().__str__()))


class AliasingWarning(ChunkscaleWarning):
    """Plain interpolation skips source voxels, so fine structure aliases."""


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that a user should know before the run: a warning that is not given yet.

    Parameters
    ----------
    kind : str
        ``"metadata"``: what the source says contradicts itself or its specification; `check`
        calls it a fault. ``"lost"``: what the source says and the output will not have.
        ``"asked"``: what it will not have because the user said so. ``"converted"``: what it says
        in another way. ``"scene"``: that images lie in a scene, which some versions cannot hold.
        ``"empty"``: no chunk of it is stored. Or what the plan found: ``"aliasing"``,
        ``"labels"``, ``"mask"``, ``"plane"``, ``"kept"``, ``"collapse"``, ``"growth"``,
        ``"overlap"``, ``"memory"``, ``"size"``, ``"disk"``, ``"unit"``, ``"order"``,
        ``"isotropic"`` and the like.
    text : str
    """

    kind: str
    text: str

    def __str__(self) -> str:
        return spoken(self.text)
