"""What is said to whoever asks for one image and gives several."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from chunkscale.errors import MultipleImagesError, Notice
from chunkscale.text import some

#: Images of a collection that an error lists.
_MOST_LISTED = 40

#: How all of them are taken, by the kind of the group that lists them.
_TOGETHER = {
    "": "take them together with images='all' (--all)",
    "labels": "the image that they go along with",
    "series": "the group above with images='all' (--all)",
}


def several_images(
    uri: str,
    kind: str,
    paths: Sequence[str],
    titles: Mapping[str, str] | None = None,
    notices: Iterable[Notice] = (),
) -> MultipleImagesError:
    """Return the error of who asks for one image and gives a collection.

    Parameters
    ----------
    uri : str
    kind : str
        Of the collection.
    paths : sequence of str
    titles : mapping, optional
        What some of the paths are called by people.
    notices : iterable of Notice
        What is strange about the collection.
    """
    way = _TOGETHER.get(kind, _TOGETHER[""])
    said = titles or {}
    lines = [f"{path} ({said[path]})" if said.get(path) else path for path in paths]
    listing = some(lines, _MOST_LISTED, "\n  ") or "(none found)"
    listing = "\n".join([listing, *map(str, notices)])
    return MultipleImagesError(
        f"{uri!r} is a collection ({kind}); give one of its images, or {way}:\n  {listing}",
        tuple(paths),
    )
