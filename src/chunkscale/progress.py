"""How far a run or check is, for people: a bar in a terminal or notebook, lines in a log.

The command line and ``progress=True`` of Python show the same.
"""

from __future__ import annotations

import contextlib
import math
import sys
import time
import warnings
from collections.abc import Iterator
from typing import Any, Protocol

from chunkscale.errors import OptionError
from chunkscale.kernels import compiling
from chunkscale.run.records import Progress, ProgressCallback
from chunkscale.text import per_second

#: Between two lines of a log; runs that end before have none.
LINE_SECONDS = 60.0

#: What is compiled in less is not worth a line.
TOLD_SECONDS = 2.0

#: Characters that a bar keeps: where a terminal is narrow, the speeds go first.
BAR_WIDTH = 10

_LAYOUT = "{percentage:3.0f}%|{bar}| "

_COMPILING = ("compiling kernels (first run only)", "compiling kernels")


@contextlib.contextmanager
def reporting(
    progress: bool | ProgressCallback | None, regions: int = 0
) -> Iterator[ProgressCallback | None]:
    """Yield the callback of a run that shows what `progress` asks for, until the run has ended.

    Parameters
    ----------
    progress : bool, callable or None
        True for a bar or lines; a callback as it is.
    regions : int
        Of the whole run; 0 if that is not known yet.
    """
    if progress is None or progress is False:
        yield None
    elif progress is True:
        face = _face(regions)
        done = False
        with compiling.told(face.compiling):
            try:
                yield face.show
                done = True
            finally:
                face.end(done)
    elif callable(progress):
        yield progress
    else:
        raise OptionError(
            f"progress {progress!r} cannot be called; give True, or a function of one argument"
        )


def write_above(text: str) -> None:
    """Print a line on stderr, above the bar where there is one."""
    from tqdm import tqdm

    tqdm.write(text, file=sys.stderr)


class _Face(Protocol):
    """What shows how far a run is."""

    def show(self, progress: Progress) -> None: ...

    def compiling(self, begins: bool) -> None: ...

    def end(self, done: bool) -> None: ...


def _face(regions: int) -> _Face:
    if "ipykernel" in sys.modules:
        with warnings.catch_warnings():
            # That there are no widgets here: then it is a bar of characters.
            warnings.simplefilter("ignore")
            from tqdm.auto import tqdm
            from tqdm.notebook import tqdm_notebook
        return (_Widget if issubclass(tqdm, tqdm_notebook) else _Bar)(tqdm, regions)
    if sys.stderr is not None and sys.stderr.isatty():
        from tqdm import tqdm

        return _Bar(tqdm, regions)
    return _Lines(regions)


class _Bar:
    """A bar of tqdm."""

    def __init__(self, tqdm: Any, regions: int, **options: Any) -> None:
        self._regions, self._begun = regions, time.monotonic()
        self._last: Progress | None = None
        layout = _LAYOUT + _texts(None, regions)[0]
        total = max(regions, 1)
        options |= {"dynamic_ncols": True, "file": sys.stderr}
        self._bar = tqdm(total=total, bar_format=layout, **options)

    def show(self, progress: Progress) -> None:
        self._last = progress
        if progress.total_regions != self._regions:
            self._regions = progress.total_regions
            self._bar.reset(total=self._regions)
        self._write(_texts(progress, self._regions))
        self._bar.update(progress.regions - self._bar.n)

    def compiling(self, begins: bool) -> None:
        self._write(_COMPILING if begins else _texts(self._last, self._regions))
        self._bar.refresh()

    def end(self, done: bool) -> None:
        if done:  # also where nothing was missing
            self._bar.n = self._regions
        seconds = time.monotonic() - self._begun
        self._write(_texts(self._last, self._regions, made=self._bar.n, elapsed=seconds))
        self._bar.leave = self._bar.n > 0
        self._bar.close()

    def _write(self, texts: tuple[str, ...]) -> None:
        width = self._bar.format_dict["ncols"]  # none in a notebook
        most = width - len("100%|| ") - BAR_WIDTH if width else math.inf
        self._bar.bar_format = _LAYOUT + next((t for t in texts if len(t) <= most), texts[-1])


class _Widget(_Bar):
    """A bar of tqdm as a widget of a notebook."""

    def __init__(self, tqdm: Any, regions: int) -> None:
        from IPython.display import display

        super().__init__(tqdm, regions, display=False)
        self._shown = display(self._bar.container, display_id=True)

    def end(self, done: bool) -> None:
        super().end(done)
        if self._shown is not None and self._bar.leave:
            # A widget needs scripts wherever the notebook is looked at later, and its text is
            # saved as it was when it was displayed.
            text = self._bar.format_meter(**self._bar.format_dict)
            self._shown.update({"text/plain": text}, raw=True)


class _Lines:
    """A line a minute, where nobody looks at a terminal."""

    def __init__(self, regions: int) -> None:
        self._regions, self._begun = regions, time.monotonic()
        self._last: Progress | None = None
        self._next = self._begun + LINE_SECONDS
        self._since, self._depth, self._compiled = self._begun, 0, 0.0

    def show(self, progress: Progress) -> None:
        if time.monotonic() < self._next:
            return
        self._last, self._regions = progress, progress.total_regions
        self._print(progress.regions, *_facts(progress))
        self._next = time.monotonic() + LINE_SECONDS

    def compiling(self, begins: bool) -> None:
        """Add up how long kernels are compiled; one may need another."""
        now = time.monotonic()
        if self._depth:
            self._compiled += now - self._since
        self._since = now
        self._depth += 1 if begins else -1

    def end(self, done: bool) -> None:
        if self._compiled >= TOLD_SECONDS:  # the times of a run begin when that is done
            text = f"compiling kernels took {self._compiled:.0f} s (first run only)"
            print(text, file=sys.stderr, flush=True)
        if self._last is not None and done:
            self._print(self._regions, f"{_clock(time.monotonic() - self._begun)} elapsed")

    def _print(self, made: int, *facts: str) -> None:
        share = f"{100 * made // max(self._regions, 1)} %"
        text = ", ".join([f"{made} of {self._regions} regions", share, *facts])
        print(text, file=sys.stderr, flush=True)


def _texts(
    progress: Progress | None,
    regions: int,
    *,
    made: int | None = None,
    elapsed: float | None = None,
) -> tuple[str, ...]:
    """Return what stands beside a bar, from the longest to the shortest."""
    if made is None:
        made = 0 if progress is None else progress.regions
    *speeds, left = ["", *_speeds(progress), _left(progress)]
    when = left if elapsed is None else f"{_clock(elapsed)} elapsed"
    counts = [f"{made}/{regions} regions", f"{made}/{regions}"] if regions else ["opening"] * 2
    rows = [(counts[0], *speeds, when), (counts[0], *speeds[:2], when), (counts[0], when)]
    rows += [(counts[1], when), (when or counts[1],)]
    return tuple(", ".join(filter(None, row)) for row in rows)


def _facts(progress: Progress) -> list[str]:
    return [text for text in (*_speeds(progress)[:1], _left(progress)) if text]


def _speeds(progress: Progress | None) -> list[str]:
    """Return the speeds of what this run has made: what was there before does not count."""
    if progress is None or not progress.voxels:
        return []
    return [
        f"{per_second(progress.voxels / 1e6, progress.seconds)} Mvoxel/s",
        f"{per_second(progress.nbytes / 2**20, progress.seconds)} MiB/s",
    ]


def _left(progress: Progress | None) -> str:
    if progress is None or not progress.voxels:
        return ""
    rest = progress.total_voxels - progress.voxels
    return f"{_clock(rest * progress.seconds / progress.voxels)} left"


def _clock(seconds: float) -> str:
    """Return a time as clocks show it.

    Examples
    --------
    >>> _clock(200), _clock(7.6), _clock(3725)
    ('3:20', '0:08', '1:02:05')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
