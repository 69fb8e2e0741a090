"""The images of a collection that are asked for, by their names and by patterns."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from chunkscale.errors import Notice, OptionError
from chunkscale.ome.entries import plain_path
from chunkscale.ome.scenes import mirrored_scene, scene_notices, scene_of
from chunkscale.ome.versions import holds_systems
from chunkscale.sources.collections import CollectionSource
from chunkscale.sources.folders import Tell
from chunkscale.text import some_names

#: Among so many images a message looks for the name that was meant.
_LOOKED_AT = 5000

Pattern = tuple[str, ...]


def chosen(
    collection: CollectionSource, patterns: Sequence[str] | None = None, tell: Tell | None = None
) -> Iterator[str]:
    """Yield the images of a collection that match, in its order, each once.

    Parameters
    ----------
    collection : CollectionSource
    patterns : sequence of str, optional
        Names like ``B/03/0``, in which ``*``, ``?`` and ``[0-3]`` stand for a part of a name, and
        ``**`` for any number of names. All images by default. Wells and folders in which nothing
        can match are not looked into.
    tell : callable, optional
        As in `CollectionSource.images`.

    Raises
    ------
    OptionError
        At the end, for a pattern that no image matches.
    """
    listen = tell or (lambda notice: None)
    if patterns is None:
        yield from collection.images(listen)
        return
    if isinstance(patterns, str) or not patterns:
        raise OptionError(
            f"images {patterns!r} is not a list of names; give them like ['B/03/0', 'B/04/*'], "
            "or leave it out to take all images"
        )
    wanted = {text: _parts(text) for text in patterns}
    idle = set(wanted)

    def within(path: str) -> bool:
        parts = tuple(path.split("/"))
        return any(matches(pattern, parts, partly=True) for pattern in wanted.values())

    for path in collection.images(listen, within):
        parts = tuple(path.split("/"))
        found = [text for text, pattern in wanted.items() if matches(pattern, parts)]
        idle.difference_update(found)
        if found:
            yield path
    for text in wanted:
        if text in idle:
            raise OptionError(_no_image(collection, text))


def _parts(path: str) -> Pattern:
    """Return the names in a path, each run of ``**`` as one.

    Examples
    --------
    >>> _parts("./B//**/**/0")
    ('B', '**', '0')
    """
    names = plain_path(path).split("/")
    return tuple(a for a, b in zip(names, [*names[1:], ""], strict=True) if (a, b) != ("**", "**"))


def matches(pattern: Pattern, path: Pattern, *, partly: bool = False) -> bool:
    """Whether a path matches a pattern; `partly` also what can only match with more behind it.

    Examples
    --------
    >>> matches(("B", "*", "0"), ("B", "03", "0")), matches(("**", "0"), ("B", "03", "0"))
    (True, True)
    >>> matches(("B", "*", "0"), ("B",)), matches(("B", "*", "0"), ("B",), partly=True)
    (False, True)
    """
    if not path:
        return bool(partly and pattern) or all(part == "**" for part in pattern)
    if not pattern:
        return False
    first, rest = pattern[0], pattern[1:]
    if first == "**":
        return matches(rest, path, partly=partly) or matches(pattern, path[1:], partly=partly)
    # A name may hold brackets that stand for nothing.
    alike = path[0] == first or fnmatchcase(path[0], first)
    return alike and matches(rest, path[1:], partly=partly)


def _no_image(collection: CollectionSource, text: str) -> str:
    names = list(itertools.islice(collection.images(), _LOOKED_AT))
    inside = [name for name in names if name.startswith("/".join(_parts(text)) + "/")]
    message = f"images={text!r} (--images {text}) matches no image of {collection.uri!r}"
    if inside:
        every = "/".join((*_parts(text), "**"))
        return f"{message}; it holds {some_names(inside)}, and {every!r} is all of them"
    close = difflib.get_close_matches(text, names, cutoff=0.3) or names
    return f"{message}; the nearest are {some_names(close)} ('chunkscale info' lists all)"


def scene_losses(
    source: CollectionSource, patterns: Sequence[str] | None, version: str
) -> Iterator[Notice]:
    """Yield what the mirror of a scene will not have, in a version that holds scenes."""
    scene = scene_of(source.attributes) if holds_systems(version) else {}
    if scene:
        made = set(chosen(source, patterns))
        yield from scene_notices(source.uri, mirrored_scene(scene, made).losses)
