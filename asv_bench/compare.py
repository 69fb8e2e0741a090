"""One table of ratios: chunkscale and the floor under it, job by job, in turn.

Run ``python asv_bench/compare.py --help``; `README.md` says what is printed,
`jobs.py` what is done. Every repetition of every contender is a process of its
own. The contenders take turns, so that all of them see the same machine, busy
or idle; page cache warm; the output is deleted after each repetition.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import zarr
from gpu_peers import GPU_PEERS
from jobs import DEFAULT_JOBS, JOBS, PEER_JOBS, named
from peers import PEERS

HERE = Path(__file__).resolve().parent
OTHERS = {**PEERS, **GPU_PEERS}
MIB = 2**20
#: A RAM disk, and what must be free there: job C has a source and two outputs on it, and in memory
#: what is written.
RAM_DISK, ROOM = Path("/dev/shm"), 8 * 2**30
COLUMNS = (
    *("floor s", "s", "Mvoxel/s", "x floor", "least", "new/old"),
    *("core s", "peak MiB", "error", "bias"),
)


@dataclass(slots=True)
class Tally:
    """What the repetitions of one contender gave."""

    #: Of level 0.
    voxels: int
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    peaks: list[int] = field(default_factory=list)
    errors: dict[str, float] = field(default_factory=dict)

    def over(self, other: Tally) -> list[float]:
        """Return these seconds divided by another's: within a turn both saw the same machine."""
        return [a / b for a, b in zip(self.seconds, other.seconds, strict=True)]


def main() -> None:
    """Print what the arguments ask for."""
    options = _options()
    if options.cores is not None:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
    for name in options.jobs:
        print(f"{name:<12}{named(name).words}")
    absent = {name: OTHERS[name].missing for name in options.peers if name in OTHERS}
    for name, modules in absent.items():
        if modules:
            print(f"{name} is left out: {', '.join(modules)} not installed")
    options.peers = [name for name in options.peers if not absent.get(name)]
    measured = {}
    with tempfile.TemporaryDirectory(dir=options.workdir) as folder:
        print(
            f"\n{options.cores or os.cpu_count()} cores, {options.workers or 'default'} workers, "
            f"medians of {options.repeat} in turn, data below {folder}"
        )
        print(f"\n{'job':<12}{'contender':<17}" + "".join(f"{title:>9}" for title in COLUMNS))
        for name in options.jobs:
            measured[name] = _measured(name, options, Path(folder) / name)
            _print(name, measured[name])
            shutil.rmtree(Path(folder) / name)
    print(f"load average {os.getloadavg()[1]:.1f}")
    if options.table or options.plot:
        import summary

        rows = summary.rows(measured, [name for name, modules in absent.items() if modules])
        if options.table:
            options.table.write_text(summary.markdown(rows))
        if options.plot:
            summary.plot(rows, options.plot)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument(
        "--jobs", "--case", type=_jobs, default=DEFAULT_JOBS, metavar="NAME,...",
        help=f"of {', '.join(JOBS)} (default: all but G, which is for a GPU)",
    )  # fmt: skip
    parser.add_argument("--repeat", type=int, default=5, help="repetitions (default: %(default)s)")
    parser.add_argument("--cores", type=int, help="pin everything to that many (Linux)")
    parser.add_argument(
        "--against", type=Path, metavar="SRC",
        help="the folder of another chunkscale package, which takes its turns: old beside new",
    )  # fmt: skip
    parser.add_argument(
        "--peers", nargs="*", choices=[*PEERS, "chunkscale-gpu", *GPU_PEERS], metavar="NAME",
        help=f"others that take their turns in the jobs {', '.join(PEER_JOBS)}: %(choices)s "
        "(default: those that need no GPU)",
    )  # fmt: skip
    parser.add_argument(
        "--volumes", type=_numbers, default=(1,), metavar="N,...",
        help="each job with so many times its voxels, like 1,8,64: are voxels per second the same?",
    )  # fmt: skip
    parser.add_argument("--table", type=Path, metavar="FILE.md", help="what peers take, for docs")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="the same as a picture")
    parser.add_argument(
        "--workers", type=int,
        help="regions, blocks or tasks at once (default: chunkscale's own choice; one more than "
        "cores for the peers)",
    )  # fmt: skip
    parser.add_argument(
        "--workdir", type=Path,
        help=f"where images go (default: {RAM_DISK} if {ROOM // 2**30} GiB are free there, or "
        "else the system's temporary folder)",
    )  # fmt: skip
    options = parser.parse_args()
    if options.repeat < 1:
        parser.error(f"--repeat {options.repeat} is less than 1")
    if options.cores is not None and not 1 <= options.cores <= len(os.sched_getaffinity(0)):
        parser.error(
            f"--cores {options.cores} is not from 1 to {len(os.sched_getaffinity(0))}, the cores "
            "that this process may use"
        )
    if options.against is not None and not (options.against / "chunkscale").is_dir():
        parser.error(f"--against {options.against} has no folder chunkscale; give its src folder")
    options.peers = [] if options.peers is None else options.peers or [*PEERS]
    larger = [f" x{volume}" if volume != 1 else "" for volume in options.volumes]
    options.jobs = [name + times for name in options.jobs for times in larger]
    for name in options.jobs:
        try:
            named(name)
        except ValueError as error:
            parser.error(str(error))
    if options.workdir is None and RAM_DISK.is_dir() and shutil.disk_usage(RAM_DISK).free >= ROOM:
        options.workdir = RAM_DISK
    return options


def _jobs(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in JOBS]:
        raise argparse.ArgumentTypeError(
            f"no job {', '.join(unknown)}; choose of {', '.join(JOBS)}"
        )
    return names


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in text.split(","))


def _measured(name: str, options: argparse.Namespace, folder: Path) -> dict[str, Tally]:
    folder.mkdir()
    places = {what: str(folder / what) for what in ("source", "small", "output", "reference")}
    task = {**places, "job": name, "workers": options.workers, "level_shapes": [], "touch": 0}
    _process({**task, "do": "source"})
    _repetition({**task, "name": "chunkscale", "output": places["reference"]}, options.against)
    levels = dict(zarr.open_group(places["reference"], mode="r").arrays()).values()
    task["level_shapes"] = sorted((level.shape for level in levels), reverse=True)
    task["touch"] = 3 * sum(level.nbytes for level in levels)
    names = ["floor", "chunkscale", *(["against"] if options.against else [])]
    names += options.peers if name in PEER_JOBS else []
    voxels = math.prod(task["level_shapes"][0])
    tallies = {contender: Tally(voxels) for contender in names}
    for turn in range(options.repeat):
        # Another one begins each time: a neighbour's burst must not always hit the same.
        for contender in [*names[turn % len(names) :], *names[: turn % len(names)]]:
            os.sync()
            said, peak = _repetition({**task, "name": contender}, options.against)
            tally = tallies[contender]
            tally.seconds.append(said["seconds"])
            tally.cpu_seconds.append(said["cpu_seconds"])
            tally.peaks.append(peak)
            if not tally.errors and name in PEER_JOBS and contender != "floor":
                tally.errors = _process({**task, "name": contender, "do": "error"})
            shutil.rmtree(places["output"])
            print(
                f"  {name}, {contender}: {said['seconds']:.2f} s, {said['cpu_seconds']:.1f} core "
                f"seconds {said['said']}", file=sys.stderr, flush=True,
            )  # fmt: skip
    return tallies


def _command(task: dict[str, Any]) -> list[str]:
    return [sys.executable, str(HERE / "contenders.py"), json.dumps(task)]


def _process(task: dict[str, Any]) -> dict[str, Any]:
    """Do what `contenders.py` can do in a new process; return its answer."""
    text = subprocess.run(_command(task), check=True, stdout=subprocess.PIPE, text=True).stdout
    answer: dict[str, Any] = json.loads(text.splitlines()[-1])
    return answer


def _repetition(task: dict[str, Any], against: Path | None) -> tuple[dict[str, Any], int]:
    """Let one contender do its work once; return its answer, and its peak memory in bytes."""
    environment = _environment(task["name"], against)
    # While the contender gets ready, and in a process of its own: it is no one's peak.
    touch = _command({"do": "touch", "bytes": max(MIB, task["touch"])})
    with subprocess.Popen(touch, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as holding:
        text, peak = watched(
            _command({**task, "do": "run"}), holding.communicate, environment=environment
        )
    answer: dict[str, Any] = json.loads(text.splitlines()[-1])
    if task["name"] == "against":
        assert against is not None
        if not Path(answer["code"]).resolve().is_relative_to(against.resolve()):
            raise SystemExit(f"{answer['code']} was imported, which is not below {against}")
    return answer, peak


def _environment(name: str, against: Path | None) -> dict[str, str]:
    """Return the environment of a contender: another package is imported by the old code."""
    environment = dict(os.environ)
    if name == "against" and against:
        before = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(against.resolve()), before]))
    return environment


def watched(
    command: Sequence[str],
    before: Callable[[], object] | None = None,
    environment: dict[str, str] | None = None,
) -> tuple[str, int]:
    """Run a command; return what it printed, and its peak memory in bytes.

    The peak is the kernel's own count: to look from outside takes a tenth of
    two cores, which a run would have. It is that of one process, and not below
    what this one has had when it began it. If there is something to do before, the
    command prints a line when it is ready for it, and waits for one.
    """
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdin is not None
    assert process.stdout is not None
    if before is not None and process.stdout.readline():  # otherwise it has ended already
        before()
        print(file=process.stdin, flush=True)
    process.stdin.close()
    text = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stdout.close()
    if process.returncode != 0:
        raise subprocess.CalledProcessError(process.returncode, command)
    return text, used.ru_maxrss * 1024


def _print(job: str, tallies: dict[str, Tally]) -> None:
    floor, new, voxels = tallies["floor"], tallies["chunkscale"], tallies["floor"].voxels
    for name, tally in tallies.items():
        if name == "floor":
            continue  # it holds the whole result in memory; its peak says nothing
        ratios, seconds = tally.over(floor), statistics.median(tally.seconds)
        cells = (
            f"{statistics.median(floor.seconds):.2f}",
            f"{seconds:.2f}",
            f"{voxels / seconds / 1e6:.0f}",
            f"{statistics.median(ratios):.2f}",
            f"{min(ratios):.2f}",
            "-" if name == "chunkscale" else f"{statistics.median(new.over(tally)):.2f}",
            f"{statistics.median(tally.cpu_seconds):.1f}",
            f"{max(tally.peaks) / MIB:.0f}",
            f"{tally.errors['error']:.0f}" if tally.errors else "-",
            f"{tally.errors['bias']:.2f}" if tally.errors else "-",
        )
        print(f"{job:<12}{name:<17}" + "".join(f"{cell:>9}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
