"""The command line: what it prints, and what it returns."""

import dataclasses
import inspect
import json
import os
import re
import signal
import struct
import subprocess
import sys
import warnings

import numpy as np
import pytest

import chunkscale
from chunkscale.api import resampling
from chunkscale.api.defaults import CHUNK_EDGES
from chunkscale.api.pictures import show
from chunkscale.api.planning import plan_resampling
from chunkscale.cli.arguments import make_parser
from chunkscale.cli.commands import _plan_options, parse_resources
from chunkscale.cli.main import main
from chunkscale.cli.screen import terminable
from chunkscale.compute.gpu.find import why_unusable
from chunkscale.demo import run_demo


@pytest.fixture
def stack(make_image, noise):
    return make_image(noise((8, 30, 30)), (1.0, 0.25, 0.25), name="a stack.ome.zarr")


def run(*arguments, **given):
    return subprocess.run(
        [sys.executable, "-m", "chunkscale", *map(str, arguments)],
        **({"capture_output": True} | given), text=True,
    )  # fmt: skip


def output_is(buffered):
    """Return an environment in which what is printed waits in a buffer, or does not."""
    rest = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return rest if buffered else {**rest, "PYTHONUNBUFFERED": "1"}


@pytest.mark.parametrize("verb", ["info", "plan", "resample", "check", "show", "demo"])
def test_every_verb_has_help_with_an_example(verb, capsys):
    """--help exits with 0 and shows a command to copy."""
    with pytest.raises(SystemExit) as exit:
        main([verb, "--help"])
    assert exit.value.code == 0
    assert f"chunkscale {verb} " in capsys.readouterr().out.split("example:")[1]


def test_help_states_the_defaults(capsys):
    """Every option that has a default says so, and sizes are those of the API."""
    with pytest.raises(SystemExit):
        main(["resample", "--help"])
    text = " ".join(capsys.readouterr().out.split("example:")[0].split())
    for name in ("voxel-size", "zoom", "source-voxel-size", "method", "outside", "chunk", "shard",
                 "levels", "ome-zarr-version", "codec", "checksum", "memory", "workers",
                 "device"):  # fmt: skip
        described = text.split(f" --{name} ")[-1].split(" --")[0]
        assert "default" in described, name
    edges = "64 in shards and 128 without, 512 and 1024 for planes"
    assert edges in text
    assert [int(word) for word in edges.replace(",", "").split() if word.isdigit()] == [
        *CHUNK_EDGES[3], *CHUNK_EDGES[2],
    ]  # fmt: skip


def test_the_defaults_are_those_of_the_api(capsys):
    """The parser has none of its own but switches that are off; the help repeats the API's."""
    for verb, function in (("plan", plan_resampling), ("show", show), ("demo", run_demo)):
        with pytest.raises(SystemExit):
            main([verb, "--help"])
        text = " ".join(capsys.readouterr().out.split())
        for parameter in inspect.signature(function).parameters.values():
            if isinstance(parameter.default, str):
                assert re.search(rf"default: {re.escape(parameter.default)}\b|"
                                 rf"{re.escape(parameter.default)} \(default\)", text)  # fmt: skip
    given = make_parser().parse_args(["plan", "in.zarr"])
    assert _plan_options(given) == {"antialias": False}
    assert make_parser().parse_args(["demo"]).folder is None


def test_a_voxel_size_without_a_unit_is_noticed(make_image, noise, tmp_path, capsys):
    """That the numbers mean no length is said by info and plan, and only then."""
    for unit, words in (
        ("pixel", "no physical unit along z ('pixel'), y ('pixel'), x ('pixel')"),
        (None, "no physical unit along z, y, x;"),
        ("micrometer", None),
    ):
        path = make_image(noise((4, 8, 8)), (2, 1, 1), unit=unit, name=f"{unit}.ome.zarr")
        for verb in ("info", "plan"):
            assert main([verb, str(path)]) == 0
            shown = capsys.readouterr().out
            assert (words in shown) if words else ("warning" not in shown)


def test_axes_in_an_unusual_order_are_noticed(make_image, noise, capsys):
    """OME-NGFF advises z, y, x; x, y, z is read as it says, and said."""
    path = make_image(noise((8, 8, 4)), (1, 1, 2), axes="xyz")
    assert main(["plan", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "listed as x, y, z and OME-NGFF advises z, y, x" in shown
    assert "xyz 8 x 8 x 8 uint16, linear" in shown
    with pytest.warns(chunkscale.ChunkscaleWarning, match="listed as x, y, z"):
        chunkscale.resample(path, path.with_name("out.zarr"))


def test_a_place_that_cannot_be_written_is_refused(stack, capsys):
    """/proc takes no directories from anyone, whatever its permissions say."""
    assert main(["resample", str(stack), "/proc/chunkscale/out.zarr"]) == 2
    err = capsys.readouterr().err
    assert "nothing can be written in '/proc'" in err
    assert "choose another path" in err


@pytest.mark.slow
@pytest.mark.parametrize("version", ["0.5", "0.4"])
def test_a_full_disk_is_explained(make_image, noise, tmp_path, version):
    """Exit code 1; path, room and remedy are named; the output is no image, and goes on."""
    source = make_image(noise((32, 128, 128)), (1.0, 0.5, 0.5))
    out = tmp_path / "out.zarr"
    # Kernels are compiled, and cached in files, before there is a limit.
    assert main(["resample", str(source), str(tmp_path / "first.zarr")]) == 0
    full = subprocess.run(
        [sys.executable, "-c",
         # A limit on the size of files stands for a disk without room.
         "import resource, sys; from chunkscale.cli.main import main; "
         "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000)); sys.exit(main())",
         "resample", source, out, "--ome-zarr-version", version],
        capture_output=True, text=True,
    )  # fmt: skip
    assert full.returncode == 1
    assert "Traceback" not in full.stderr
    for words in (f"cannot write to '{out}", "MiB are free there", "with --resume"):
        assert words in full.stderr
    assert main(["info", str(out)]) == 2
    again = ["resample", str(source), str(out), "--ome-zarr-version", version, "--resume"]
    assert main(again) == 0


def test_the_whole_way(stack, tmp_path, capsys):
    """info, plan, resample and check agree with one another."""
    out = tmp_path / "iso.ome.zarr"
    assert main(["info", str(stack), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["shape"] == [8, 30, 30]
    assert facts["voxel_size"] == [1.0, 0.25, 0.25]
    assert main(["plan", str(stack), "--json", "--zoom", "0.5"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["target"]["shape"] == [16, 15, 15]
    assert main(["resample", str(stack), str(out), "--zoom", "0.5"]) == 0
    text = capsys.readouterr().out
    assert (
        "8 x 30 x 30 voxels of 1 x 0.25 x 0.25 µm -> 16 x 15 x 15 voxels of 0.5 x 0.5 x 0.5 µm"
        in text
    )
    assert "at most" in text
    assert main(["info", str(out), "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["shape"] == plan["target"]["shape"]
    assert [level["shape"] for level in made["levels"]] == [
        level["shape"] for level in plan["levels"]
    ]
    assert main(["check", str(out), "--source", str(stack), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"]
    assert main(["info", str(out)]) == 0
    assert main(["plan", str(stack)]) == 0
    assert " 32 x 30 x 30  0.25 x 0.25 x 0.25 " in capsys.readouterr().out


def test_what_a_run_warns_of_is_told(stack, tmp_path, capsys, monkeypatch):
    """A ledger that fails costs work if the run is interrupted: one plain line, once."""

    def fail(*_):
        raise OSError("injected")

    monkeypatch.setattr("chunkscale.output.ledger.FLUSH_SECONDS", (0.0, 0.0))
    monkeypatch.setattr("chunkscale.output.ledger.Ledger.note", fail)
    before = warnings.showwarning, list(warnings.filters)
    out = tmp_path / "out.zarr"
    assert main(["resample", str(stack), str(out)]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: the log of '{out}' cannot be written (injected); ")
    assert line.endswith("are made again")
    assert (warnings.showwarning, list(warnings.filters)) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--voxel-size", "tiny"], "'tiny'"),
        (["--voxel-size", "0"], "0.0"),
        (["--voxel-size", "q=1"], "'q'"),
        (["--voxel-size", "0.5px"], "'px' in '0.5px' is not a known unit of length"),
        (["--source-voxel-size", "500 px,1,1"], "'px' in '500 px'"),
        (["--voxel-size", "1,0.5"], "2 values for the 3 spatial axes z, y, x"),
        (["--source-voxel-size", "5,1"], "2 values for the 3 spatial axes z, y, x"),
        (["--source-voxel-size", "z=5,y=0um"], "0.0"),
        (["--zoom", "-1"], "-1.0"),
        (["--zoom", "nan"], "nan"),
        (["--like", "nowhere"], "nowhere"),
        (["--like", ".", "--zoom", "2"], "leave one of them out"),
        (["--source-voxel-size", "finest"], "finest"),
        (["--source-voxel-size", "z=-1"], "-1"),
        (["--method", "nearest", "--antialias"], "antialias"),
        (["--method", "mode", "--antialias"], "antialias"),
        (["--outside", "red"], "'red'"),
        (["--outside", "70000"], "uint16"),
        (["--chunk", "0"], "below 1"),
        (["--chunk", "a,b"], "'a,b'"),
        (["--chunk", "4,4"], "2 values"),
        (["--chunk", "10", "--shard", "15"], "not a multiple"),
        (["--shard", "32", "--ome-zarr-version", "0.4"], "0.4"),
        (["--levels", "0"], "levels 0"),
        (["--levels", "99"], "levels 99"),
        (["--voxel-size", "1e-200"], "1e-200"),
        (["--zoom", "1e300"], "voxels along axis"),
        (["--zoom", "1e9"], "voxels"),
        (["--memory", "1e400"], "1e400"),
        (["--codec", "jpeg"], "'jpeg'"),
        (["--codec", "zstd:99"], "zstd:99"),
        (["--memory", "lots"], "'lots'"),
        (["--memory", "4"], "memory '4' is 4 bytes; did you mean '4GiB'?"),
        (["--memory", "500"], "did you mean '500MiB'?"),
        (["--voxel-size", "0,5"], "3 spatial axes z, y, x; decimal numbers have a point, like 0.5"),
        (["--factor", "0,5,0,5,0,5"], "decimal numbers have a point"),
        (["--voxel-size", "z=0,5"], "'5' has no axis; decimal numbers have a point"),
        (["--like", "gcs://bucket/image.zarr"], "(did you mean gs://?)"),
        (["--like", "abfs://bucket/image.zarr"], "(did you mean az://?)"),
        (["--memory", "10MiB"], "10 MiB"),
        (["--workers", "0"], "workers 0"),
        (["--workers", "1000000"], "workers 1000000"),
        pytest.param(
            ["--device", "gpu"],
            "gpu",
            marks=pytest.mark.skipif(why_unusable() is None, reason="there is a GPU"),
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    stack, tmp_path, capsys, arguments, words
):
    """Exit code 2, one line that names the value, no output, no traceback."""
    out = tmp_path / "out.zarr"
    assert main(["resample", str(stack), str(out), *arguments]) == 2
    err = capsys.readouterr().err
    assert err.startswith("chunkscale: error: ")
    assert words in err
    assert "Traceback" not in err
    assert not out.exists()


def test_debug_shows_the_traceback(tmp_path):
    """--debug is for developers."""
    with pytest.raises(chunkscale.SourceNotFoundError):
        main(["info", str(tmp_path / "none"), "--debug"])
    assert main(["info", str(tmp_path / "none")]) == 2


@pytest.mark.parametrize(
    "error", [chunkscale.AccessDeniedError, chunkscale.MetadataError, chunkscale.DeviceError]
)
@pytest.mark.parametrize("step", ["publish", "unfinished"])
def test_what_fails_after_the_first_write_is_no_refusal(
    stack, tmp_path, capsys, monkeypatch, error, step
):
    """2 promises that nothing was written; the same error is a 1 when something may have been."""

    def fail(*_, **__):
        raise error("injected")

    out = tmp_path / "out.zarr"
    monkeypatch.setattr(
        {
            "publish": "chunkscale.output.publish.publish",
            "unfinished": "chunkscale.api.plans.unfinished",
        }[step],
        fail,
    )
    assert main(["resample", str(stack), str(out), "--resume"]) == (1 if step == "publish" else 2)
    assert out.exists() == (step == "publish")
    assert capsys.readouterr().err == "chunkscale: error: injected\n"


def test_a_refusal_by_the_run_itself_is_one(stack, capsys):
    """That the output lies in the source is found last before anything is written."""
    assert main(["resample", str(stack), str(stack / "out.zarr")]) == 2
    assert "lies inside the source" in capsys.readouterr().err
    assert not (stack / "out.zarr").exists()


@pytest.mark.slow
def test_exit_codes_of_a_process(stack, tmp_path):
    """0 done, 1 failed while running, 2 refused, 3 faults."""
    out = tmp_path / "out.zarr"
    assert run("resample", stack, out).returncode == 0
    assert run("check", out).returncode == 0
    assert run("resample", stack, out).returncode == 2
    chunk = next(p for p in (out / "0" / "c").rglob("*") if p.is_file())
    chunk.write_bytes(chunk.read_bytes()[:-10])
    found = run("check", out)
    assert found.returncode == 3
    assert "chunk (" in found.stdout
    failed = run("resample", out, tmp_path / "again.zarr", "--zoom", "2")
    assert failed.returncode == 1
    assert "cannot be read" in failed.stderr
    assert "Traceback" not in failed.stderr


@pytest.mark.slow
def test_progress_is_for_terminals(stack, tmp_path):
    """A bar on a terminal, not a character in a pipe."""
    quiet = run("resample", stack, tmp_path / "a.zarr")
    assert quiet.stderr == ""
    fcntl, pty, termios = map(pytest.importorskip, ("fcntl", "pty", "termios"))  # not on Windows
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "chunkscale", "resample", stack, tmp_path / "b.zarr"],
        stdout=subprocess.PIPE, stderr=slave,
    )  # fmt: skip
    process.communicate()
    os.close(slave)
    shown = os.read(master, 100_000).decode()
    os.close(master)
    assert "100%" in shown
    assert "Mvoxel/s" in shown


def test_resources_may_be_parts_of_something():
    """As Dask counts them."""
    assert parse_resources("GPU=0.5, disk=2") == {"GPU": 0.5, "disk": 2.0}
    with pytest.raises(chunkscale.OptionError, match="'GPU' are not understood"):
        parse_resources("GPU")


@pytest.mark.parametrize("buffered", [True, False])
def test_a_closed_pipe_is_no_error(buffered):
    """`chunkscale formats | head -0` says nothing, and its exit code that not all was printed."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        found = run(
            "formats", stdout=writing, stderr=subprocess.PIPE, capture_output=False,
            env=output_is(buffered),
        )  # fmt: skip
    finally:
        os.close(writing)
    assert (found.stderr, found.returncode) == ("", 1)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
@pytest.mark.parametrize("buffered", [True, False])
def test_what_cannot_be_printed_is_an_error(buffered):
    """The exit code tells it, although the process ends at once."""
    with open("/dev/full", "w") as full:
        found = run(
            "formats", "--json", stdout=full, stderr=subprocess.PIPE, capture_output=False,
            env=output_is(buffered),
        )  # fmt: skip
    assert found.returncode == 1
    assert "Traceback" not in found.stderr


def test_the_first_sigterm_waits_for_what_has_begun_and_the_second_does_not():
    """Nor does the first where nothing could be left unfinished; afterwards all is as before."""
    before, begun = signal.getsignal(signal.SIGTERM), []
    with terminable(lambda: bool(begun)) as told:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        assert not told
        begun.append(True)
        signal.raise_signal(signal.SIGTERM)
        assert told == [signal.SIGTERM]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_voxel_sizes_in_every_spelling(stack):
    """Numbers, mappings, sequences and words mean the same as in Python."""
    image = chunkscale.open_image(stack)
    same = [
        chunkscale.plan_resampling(image, voxel_size=value).target_grid
        for value in (0.5, "0.5", {"z": 0.5, "y": 0.5, "x": 0.5}, (0.5, 0.5, 0.5),
                      "z=.5,y=.5,x=.5", ".5, .5,.5", np.full(3, 0.5))
    ]  # fmt: skip
    assert all(grid == same[0] for grid in same)
    assert chunkscale.plan_resampling(image, voxel_size="z=0.5").target_grid.voxel_size == (
        0.5, 0.25, 0.25,
    )  # fmt: skip
    assert chunkscale.plan_resampling(image, voxel_size="coarsest").target_grid.shape == (8, 8, 8)
    fixed = chunkscale.open_image(stack, source_voxel_size="z=2")
    assert fixed.grid.voxel_size == (2.0, 0.25, 0.25)
    for given in ("5,1,0.5", (5, 1, 0.5)):
        fixed = chunkscale.open_image(stack, source_voxel_size=given)
        assert fixed.grid.voxel_size == (5.0, 1.0, 0.5)
    assert chunkscale.open_image(stack, source_voxel_size=3).grid.voxel_size == (3.0, 3.0, 3.0)


@pytest.mark.parametrize("name", ["stack", "isotropic", "zoomed", "finest", "exercise"])
def test_the_demo_replaces_nothing_of_the_user(stack, tmp_path, capsys, name):
    """An image that the demonstration did not make stays, and nothing else comes."""
    folder = tmp_path / "demo"
    folder.mkdir()
    mine = stack.rename(folder / f"{name}.ome.zarr")
    assert main(["demo", str(folder)]) == 2
    assert "choose another folder" in capsys.readouterr().err
    assert chunkscale.check(mine)
    assert [path.name for path in folder.iterdir()] == [mine.name]


def test_the_demo_replaces_no_unfinished_output_of_the_user(stack, tmp_path, capsys):
    """Nor what lies in a stack of its own."""
    mine = tmp_path / "demo" / "stack.ome.zarr"

    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        chunkscale.resample(stack, mine, progress=stop)
    (mine / "notes.txt").write_text("mine")
    before = sorted(mine.rglob("*"))
    assert main(["demo", str(tmp_path / "demo")]) == 2
    assert "choose another folder" in capsys.readouterr().err
    assert sorted(mine.rglob("*")) == before


def test_a_demo_without_a_place_is_refused(tmp_path, capsys):
    """In a line that names it."""
    (tmp_path / "file").write_text("mine")
    assert main(["demo", str(tmp_path / "file")]) == 2
    assert "choose another one" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("left", "words"),
    [(("",), "is complete"), (("", ".partial"), "--resume"), ((".partial",), "incomplete")],
)
def test_an_interrupted_run_says_what_is_true_of_its_file(
    left, words, stack, tmp_path, capsys, monkeypatch
):
    """A file in place without a folder beside it is whole."""
    out = tmp_path / "out.ozx"

    real = resampling.prepare

    def stop(**options):
        for end in left:
            (tmp_path / f"out.ozx{end}").touch()
        raise KeyboardInterrupt

    def prepared(*given):
        return dataclasses.replace(real(*given), carry_out=stop)

    monkeypatch.setattr(resampling, "prepare", prepared)
    assert main(["resample", str(stack), str(out)]) == 4
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("columns", [60, 80, 300])
def test_tables_fit_into_the_terminal(columns, stack, capsys, monkeypatch):
    """A table of many columns becomes several, with all that it holds; in a pipe it stays whole."""
    assert main(["plan", str(stack), "--voxel-size", "0.1234"]) == 0
    whole = capsys.readouterr().out
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main(["plan", str(stack), "--voxel-size", "0.1234"]) == 0
    fitted = capsys.readouterr().out
    rows = [line for line in fitted.splitlines() if line.startswith("  ")]
    assert all(len(line) <= columns for line in rows if line[2] != " ")
    assert sorted({*fitted.split()}) == sorted({*whole.split()})
    assert (fitted == whole) == (columns == 300)
