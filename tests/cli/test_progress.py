"""How far a run is: a bar in a terminal and a notebook, a line a minute elsewhere."""

import contextlib
import io
import os
import re
import sys
import time
import types

import numba
import pytest
from tqdm import tqdm

import chunkscale
from chunkscale.cli.main import main
from chunkscale.kernels import compiling
from chunkscale.kernels.cpu import jit
from chunkscale.progress import reporting
from chunkscale.run.records import Progress

pytestmark = pytest.mark.usefixtures("small_regions")

HALF_WAY = Progress(
    regions=9,
    total_regions=10,
    voxels=25 * 10**6,
    total_voxels=10**8,
    nbytes=5 * 10**7,
    seconds=20.0,
)


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True

    def fileno(self):
        return 2

    @property
    def frames(self):
        return [text.rstrip() for text in re.split("[\r\n]", self.getvalue()) if text.strip()]


def as_wide_as(columns, monkeypatch):
    # tqdm leaves the last one free.
    monkeypatch.setattr("os.get_terminal_size", lambda *_: os.terminal_size((columns + 1, 40)))


@pytest.fixture
def terminal(monkeypatch):
    """Return a stderr as wide as any bar needs; what pytest sets it to stays."""
    shown = Terminal()
    names = types.SimpleNamespace(stderr=shown, modules=sys.modules)
    monkeypatch.setattr("chunkscale.progress.sys", names)
    as_wide_as(120, monkeypatch)
    return shown


@pytest.fixture
def stack(make_image, noise):
    return make_image(noise((32, 32, 32)), (1.0, 1.0, 1.0))


OPTIONS = {"chunk": 16, "shard": 0, "workers": 1}


def interrupted(stack, out, regions):
    def stop(progress):
        if progress.regions == regions:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        chunkscale.resample(stack, out, **OPTIONS, progress=stop)


def test_true_shows_a_bar_that_ends_full_with_the_time_it_took(stack, tmp_path, terminal):
    """What is left is not said any more when nothing is."""
    chunkscale.resample(stack, tmp_path / "out.zarr", **OPTIONS, progress=True)
    first, *_, last = terminal.frames
    assert first.startswith("  0%|")
    assert re.search(r"^100%\|█+\| 9/9 regions, .* Mvoxel/s, .* MiB/s, \d:\d\d elapsed$", last)
    assert ", ," not in terminal.getvalue()


@pytest.mark.parametrize("nothing", [False, None])
def test_nothing_is_shown_where_nothing_is_asked_for(nothing, stack, tmp_path, terminal):
    chunkscale.resample(stack, tmp_path / "out.zarr", progress=nothing)
    assert terminal.getvalue() == ""


@pytest.mark.parametrize("value", ["yes", 1])
def test_what_is_no_callback_is_refused_before_anything_is_written(value, stack, tmp_path):
    with pytest.raises(chunkscale.OptionError, match="give True, or a function"):
        chunkscale.resample(stack, tmp_path / "out.zarr", progress=value)
    assert not (tmp_path / "out.zarr").exists()


@pytest.mark.parametrize(
    ("columns", "words"),
    [(100, "9/10 regions, 1.2 Mvoxel/s, 2.4 MiB/s, 1:00 left"),
     (60, "9/10 regions, 1.2 Mvoxel/s, 1:00 left"),
     (40, "9/10 regions, 1:00 left"), (32, "9/10, 1:00 left"), (24, "1:00 left")],
)  # fmt: skip
def test_in_a_narrow_terminal_the_bar_stays_and_speeds_go(columns, words, terminal, monkeypatch):
    """As long as the part that is done took, in proportion to its voxels, is left."""
    as_wide_as(columns, monkeypatch)
    with reporting(True, 10) as show:
        time.sleep(0.11)  # tqdm draws no sooner again
        show(HALF_WAY)
        shown = terminal.frames[-1]
    assert shown.startswith(" 90%|")
    assert shown.endswith(f"| {words}")
    assert len(shown) <= columns
    assert shown.count("█") >= 7


def test_a_bar_says_while_kernels_are_compiled(terminal):
    """It would stand still for seconds without a word."""
    with reporting(True, 10) as show:
        compiling.tell(True)
        assert terminal.frames[-1].endswith("| compiling kernels (first run only)")
        compiling.tell(False)
        assert terminal.frames[-1].endswith("| 0/10 regions")
        show(HALF_WAY)
    compiling.tell(True)
    assert "elapsed" in terminal.frames[-1]


def test_who_listens_is_told_when_a_kernel_is_compiled_and_not_when_it_is_loaded(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))

    def double(number):
        return 2 * number

    heard = []
    with compiling.told(heard.append):
        first = jit.entry(double)
        assert (first(3), first(4)) == (6, 8)
        assert heard == [True, False]
        again = jit.entry(types.FunctionType(double.__code__, {}, "double"))
        again.py_func.__qualname__ = first.py_func.__qualname__
        numba.njit(lambda number: number)(3)  # of somebody else
    assert heard == [True, False]


def test_a_failed_run_keeps_what_it_had_reached(terminal):
    """And one that was refused at once leaves no bar."""
    with contextlib.suppress(KeyboardInterrupt), reporting(True, 10) as show:
        show(HALF_WAY)
        raise KeyboardInterrupt
    assert re.search(r"^ 90%\|.*\| 9/10 regions, .* \d:\d\d elapsed$", terminal.frames[-1])


def test_what_an_interrupted_run_has_left_counts_as_done_and_not_as_fast(stack, tmp_path, terminal):
    """A callback hears of it first; the bar begins there, and ends full though it made less."""
    out, seen = tmp_path / "out.zarr", []
    interrupted(stack, out, 3)
    again = {**OPTIONS, "resume": True}
    chunkscale.resample(stack, out, progress=seen.append, **again)
    assert (seen[0].regions, seen[0].voxels, seen[0].total_regions) == (3, 0, 9)
    assert [progress.regions for progress in seen] == [3, 4, 5, 6, 7, 8, 9]
    assert seen[-1].voxels == seen[-1].total_voxels
    chunkscale.resample(stack, out, progress=True, **again)
    assert re.search(r"^100%\|█+\| 9/9 regions, \d:\d\d elapsed$", terminal.frames[-1])


def test_a_log_has_a_line_a_minute(capsys, monkeypatch):
    """Where stderr is no terminal; a run below a minute says nothing."""
    now = [0.0]
    monkeypatch.setattr("chunkscale.progress.time.monotonic", lambda: now[0])
    with reporting(True, 130) as show:
        for second in range(0, 200, 10):
            now[0] = float(second)
            show(Progress(regions=12, total_regions=130, voxels=10**9, total_voxels=11 * 10**9,
                          nbytes=2 * 10**9, seconds=20.0))  # fmt: skip
    line = "12 of 130 regions, 9 %, 50 Mvoxel/s, 3:20 left\n"
    assert capsys.readouterr().err == 3 * line + "130 of 130 regions, 100 %, 3:10 elapsed\n"
    with reporting(True, 130) as show:
        now[0] += 59
        show(HALF_WAY)
    assert capsys.readouterr().err == ""


def test_a_log_says_how_long_kernels_were_compiled(capsys, monkeypatch):
    """A run's own times begin afterwards; one kernel may need another, and a short time is none."""
    now = [0.0]
    monkeypatch.setattr("chunkscale.progress.time.monotonic", lambda: now[0])
    for seconds, text in ((5.0, "compiling kernels took 20 s (first run only)\n"), (0.1, "")):
        with reporting(True, 10):
            for begins in (True, True, False, False, True, False):
                compiling.tell(begins)
                now[0] += seconds
        assert capsys.readouterr().err == text


def test_a_notebook_without_widgets_has_a_bar_of_characters(monkeypatch, capsys):
    """Its stderr is no terminal; what tqdm warns of there ends no run."""
    monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
    with reporting(True, 10) as show:
        show(HALF_WAY)
    assert "10/10 regions, 1.2 Mvoxel/s" in capsys.readouterr().err.split("\r")[-1]


def test_what_is_saved_of_a_widget_is_its_end(monkeypatch):
    """Pages that show no widgets have the text of the bar: as it ended, not as it began."""
    saved = []

    class Widget(tqdm):
        def __init__(self, *args, display, **options):
            super().__init__(*args, **options)
            self.container = types.SimpleNamespace(pbar=self)

    def display(container, display_id):
        saved.append(str(container.pbar))
        return types.SimpleNamespace(update=display_again)

    def display_again(data, raw):
        saved[-1] = data["text/plain"]

    fake = types.SimpleNamespace(display=display)
    monkeypatch.setitem(sys.modules, "IPython.display", fake)
    monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
    monkeypatch.setattr("tqdm.auto.tqdm", Widget)
    monkeypatch.setattr("tqdm.notebook.tqdm_notebook", Widget)
    with reporting(True, 10) as show:
        show(HALF_WAY)
    (text,) = saved
    assert re.search(r"^100%.* 10/10 regions, .* elapsed$", text)


def test_the_command_and_python_show_the_same_bar(stack, tmp_path, terminal):
    assert main(["resample", str(stack), str(tmp_path / "a.zarr"), "--chunk", "16"]) == 0
    assert re.search(r"^100%\|█+\| 9/9 regions, .* elapsed$", terminal.frames[-1])


@pytest.mark.parametrize("full", [False, True])
def test_a_check_counts_up_to_what_there_is(full, make_image, noise, tmp_path):
    """Of an image with labels: nothing is counted twice, and all voxels are in the end."""
    stack = make_image(noise((32, 64, 64)), (1.0, 1.0, 1.0))
    for name, attributes in [("labels", {"labels": ["a"]}), ("labels/a", {"image-label": {}})]:
        if "/" in name:
            make_image(noise((32, 64, 64)), name=f"{stack.name}/{name}", attributes=attributes)
    out = tmp_path / "out.zarr"
    chunkscale.resample(stack, out, **OPTIONS, voxel_size=0.5)
    seen = []
    report = chunkscale.check(out, source=stack, full=full, progress=seen.append)
    assert report
    assert [p.regions for p in seen] == [*range(1, len(seen) + 1)]
    assert seen[-1].regions == seen[-1].total_regions
    assert seen[-1].voxels == seen[-1].total_voxels == report.voxels_compared
    # How much there is was known from the start, as labels are like their image.
    assert {p.total_regions for p in seen} == {seen[-1].total_regions}
    seen = []
    assert chunkscale.check(out, progress=seen.append)
    assert seen[-1].regions == seen[-1].total_regions
    assert seen[-1].voxels == seen[-1].total_voxels


def test_a_check_of_many_images_knows_how_many_there_are(make_image, noise, tmp_path):
    """A bar that is full after the first of them would say nothing."""
    for name in "abcd":
        make_image(noise((8, 8, 8)), (1.0, 1.0, 1.0), name=f"series/{name}.zarr")
    seen = []
    assert chunkscale.check(tmp_path / "series", progress=seen.append)
    assert {p.total_regions for p in seen} == {len(seen)}


def test_a_check_has_the_bar_of_a_run(stack, terminal, capsys):
    """Unless it is to be quiet; then nothing is printed at all where nothing is wrong."""
    assert main(["check", str(stack)]) == 0
    assert re.search(r"^100%.* \d+/\d+ regions, .*elapsed$", terminal.frames[-1])
    capsys.readouterr()
    terminal.truncate(0)
    assert main(["check", str(stack), "--quiet"]) == 0
    assert not terminal.getvalue()
    assert not capsys.readouterr().out
    next(path for path in (stack / "0" / "c").rglob("*") if path.is_file()).write_bytes(b"x")
    assert main(["check", str(stack), "--quiet"]) == 3
    assert "chunk" in capsys.readouterr().out
