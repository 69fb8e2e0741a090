"""What a terminal shows: warnings, JSON; and signals."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import TextIO

from chunkscale.errors import ChunkscaleWarning
from chunkscale.text import escaped


def open_streams() -> None:
    """Give a process that was started without one of them its standard streams.

    A file that is opened later would get their number, and what libraries print would go into it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
        if getattr(sys, name) is None:
            mode = "r" if number == 0 else "w"
            stream = open(number, mode, encoding="utf-8", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)


@contextlib.contextmanager
def plain_warnings() -> Iterator[None]:
    """Print this package's warnings as those of a plan are, without a line of source code."""
    before = warnings.showwarning

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if not issubclass(category, ChunkscaleWarning):
            before(message, category, filename, lineno, file, line)
            return
        from chunkscale.progress import write_above

        write_above(f"warning: {message}")

    with warnings.catch_warnings():
        warnings.simplefilter("always", ChunkscaleWarning)
        warnings.showwarning = show
        try:
            yield
        finally:
            warnings.showwarning = before  # not every Python's `catch_warnings` does it


@contextlib.contextmanager
def tolerant_output() -> Iterator[list[OSError]]:
    """Escape what the terminal has no character for (µ, say, or a name that is no text).

    Yields a list that gets the error if what was printed could not be written at the end: its
    reader has left, or the disk is full. The stream may have dropped it, and tells it only once.
    """
    lost: list[OSError] = []
    before = getattr(sys.stdout, "errors", None)
    if before not in ("strict", "surrogateescape") or not isinstance(sys.stdout, io.TextIOWrapper):
        yield lost
        return
    stream = sys.stdout
    stream.reconfigure(errors="backslashreplace")
    try:
        yield lost
    finally:
        try:
            with contextlib.suppress(ValueError):  # it is closed
                stream.reconfigure(errors=before)  # which flushes it
        except OSError as error:
            lost.append(error)


def print_json(value: object) -> None:
    text = escaped(json.dumps(value, indent=2, ensure_ascii=False))
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(value, indent=2)
    print(text)


@contextlib.contextmanager
def terminable(begun: Callable[[], bool]) -> Iterator[list[int]]:
    """Yield a list that gets the number of a SIGTERM; a second one does not wait.

    Nor does the first, as long as nothing has `begun` that could be left unfinished.
    """
    told: list[int] = []

    def tell(number: int, frame: object) -> None:
        if told or not begun():
            raise KeyboardInterrupt
        told.append(number)

    try:
        before = signal.signal(signal.SIGTERM, tell)
    except ValueError:  # not in the main thread
        yield told
        return
    try:
        yield told
    finally:
        signal.signal(signal.SIGTERM, before)
