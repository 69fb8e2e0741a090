"""One table of ratios: chunkscale, the floor under it, and its peers, in one run.

Run ``python asv_bench/compare.py --help``; `README.md` says what is printed.
Every repetition of every contender is a process of its own. The contenders
take turns, so that all of them see the same machine, busy or idle; page cache
warm; the output is deleted after each repetition.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
CASES = ("A", "C")
PEERS = ("dask-image", "ngff-zarr", "scipy")
#: The case for a GPU, and who takes part.
GPU_CASE, GPU_PEERS = "G", ("chunkscale-gpu", "cupy-blocks", "dask-image-cupy", "torch")
MIB = 2**20


@dataclass(slots=True)
class Tally:
    """What the repetitions of one contender gave."""

    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    peaks: list[int] = field(default_factory=list)
    error: int | None = None


def main() -> None:
    """Print what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--case", choices=[*CASES, GPU_CASE, "all"], default="all")
    parser.add_argument("--repeat", type=int, default=5, help="repetitions (default: %(default)s)")
    parser.add_argument(
        "--peers", nargs="*", choices=[*PEERS, *GPU_PEERS], default=["dask-image"],
        help="beside the floor and chunkscale (default: dask-image)",
    )  # fmt: skip
    parser.add_argument(
        "--workers", type=int,
        help="regions, blocks or tasks at once (default: chunkscale's own choice, which is the "
        "floor's as well; one more than cores for the others)",
    )  # fmt: skip
    parser.add_argument("--workdir", type=Path, help="where images go (default: a temporary one)")
    parser.add_argument("--planning", action="store_true", help="print planning figures instead")
    options = parser.parse_args()
    if options.planning:
        subprocess.run([sys.executable, str(HERE / "planning.py")], check=True)
        return
    with tempfile.TemporaryDirectory(dir=options.workdir) as folder:
        for case in CASES if options.case == "all" else [options.case]:
            names = ["floor", "chunkscale", *options.peers]
            _print(case, options, _measured(case, names, options, Path(folder)))


def _measured(
    case: str, names: Sequence[str], options: argparse.Namespace, folder: Path
) -> dict[str, Tally]:
    source, reference, output = (
        str(folder / f"{case}-{what}.ome.zarr") for what in ("source", "reference", "output")
    )
    job = {
        "case": case, "source": source, "reference": reference, "output": output,
        "workers": options.workers,
    }  # fmt: skip
    _process({"do": "source", "case": case, "path": source})
    _repetition({**job, "name": "chunkscale", "output": reference})
    tallies = {name: Tally() for name in names}
    for turn in range(options.repeat):
        # Another one begins each time: a neighbour's burst must not always hit the same.
        for name in [*names[turn % len(names) :], *names[: turn % len(names)]]:
            os.sync()
            said, peak = _repetition({**job, "name": name})
            tally = tallies[name]
            tally.seconds.append(said["seconds"])
            tally.cpu_seconds.append(said["cpu_seconds"])
            tally.peaks.append(peak)
            if tally.error is None and name != "floor":
                tally.error = _process({**job, "do": "error"})["error"]
            shutil.rmtree(output)
            print(
                f"  {name}: {said['seconds']:.2f} s, {said['cpu_seconds']:.1f} core seconds "
                f"{said['said']}", file=sys.stderr, flush=True,
            )  # fmt: skip
    return tallies


def _command(job: dict[str, Any]) -> list[str]:
    return [sys.executable, str(HERE / "contenders.py"), json.dumps(job)]


def _process(job: dict[str, Any]) -> dict[str, Any]:
    """Do a job of `contenders.py` in a new process; return its answer."""
    text = subprocess.run(_command(job), check=True, stdout=subprocess.PIPE, text=True).stdout
    answer: dict[str, Any] = json.loads(text.splitlines()[-1])
    return answer


def _repetition(job: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """Let one contender do its work once; return its answer, and its peak memory in bytes."""
    # Just before the clock starts, and in a process of its own: it is no one's peak.
    touch = partial(_process, {"do": "touch", "case": job["case"]})
    text, peak = watched(_command({**job, "do": "run"}), touch)
    answer: dict[str, Any] = json.loads(text.splitlines()[-1])
    return answer, peak


def watched(
    command: Sequence[str], before: Callable[[], object] | None = None
) -> tuple[str, int]:  # fmt: skip
    """Run a command; return what it printed, and its peak memory in bytes.

    The peak is the kernel's own count: to look from outside takes a tenth of
    two cores, which a run would have. It is that of one process, and not below
    what this one has had when it began it. If there is something to do before, the
    command prints a line when it is ready for it, and waits for one.
    """
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
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


def _print(case: str, options: argparse.Namespace, tallies: dict[str, Tally]) -> None:
    floor = tallies["floor"].seconds
    load = os.getloadavg()[1]
    print(
        f"\ncase {case}, {options.workers or 'default'} workers, {options.repeat} repetitions in "
        f"turn, load average {load:.1f}"
    )
    titles = ("best x floor", "typical x floor", "core seconds", "peak MiB", "error")
    print(f"{'contender':<16}" + "".join(f"{title:>17}" for title in titles))
    for name, tally in tallies.items():
        best = min(tally.seconds) / min(floor)
        # Within a turn both saw the same machine.
        typical = statistics.median(a / b for a, b in zip(tally.seconds, floor, strict=True))
        # The floor holds the whole result in memory; its peak says nothing.
        peak = "-" if name == "floor" else f"{max(tally.peaks) / MIB:.0f}"
        error = "-" if tally.error is None else str(tally.error)
        cpu = statistics.median(tally.cpu_seconds)
        print(f"{name:<16}{best:>17.2f}{typical:>17.2f}{cpu:>17.1f}{peak:>17}{error:>17}")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
