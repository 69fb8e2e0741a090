"""Disturb runs by signals at random moments, and by one another: right, or a `ChunkscaleError`.

``python tests/campaigns/signals.py --rounds 20`` draws as many rounds of each kind. Every round
ends with a resumed run, after which the output is that of an undisturbed one, byte by byte.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
sys.path.insert(0, str(HERE))

#: As in `faults.harness`, with a lease that is short.
_RUN = """
import signal, sys
from chunkscale.output import leases, ledger
from chunkscale.plan import policy
signal.signal(signal.SIGINT, signal.default_int_handler)
policy.LARGEST_REGION = 2**10
ledger.FLUSH_SECONDS = (0.0, 0.0)
leases.LEASE_SECONDS = 1.0
from chunkscale.cli.main import main
sys.exit(main())
"""

#: Of a single image, and of a plate.
_OPTIONS = ["--voxel-size=0.25", "--chunk=8", "--shard=0", "--workers=2", "--memory=1GiB"]


class Round:
    """An output that is written by several processes."""

    def __init__(self, folder: Path, source: str, expected: dict, draw: random.Random) -> None:
        self.folder, self.source, self.expected, self.draw = folder, source, expected, draw
        self.out = folder / "work" / "out.zarr"
        self.outcomes: Counter[str] = Counter()
        self.faults: list[str] = []
        shutil.rmtree(self.out.parent, ignore_errors=True)
        self.out.parent.mkdir()

    def start(self, *more: str, cache: Path | None = None) -> subprocess.Popen:
        images = ["--images=all"] if self.source == "plate" else []
        command = [sys.executable, "-c", _RUN, "resample", self.folder / "sources" / self.source,
                   self.out, *_OPTIONS, *images, *more]  # fmt: skip
        environment = {**os.environ} | ({} if cache is None else {"NUMBA_CACHE_DIR": str(cache)})
        return subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
        )

    def await_output(self, *runs: subprocess.Popen) -> None:
        while not self.out.exists() and all(run.poll() is None for run in runs):
            time.sleep(0.005)
        time.sleep(self.draw.random() * 0.4)

    def end(self, run: subprocess.Popen, *, killed: tuple[int, ...] = ()) -> str:
        """Wait for a run, and count how it has ended."""
        try:
            _, text = run.communicate(timeout=120)
        except subprocess.TimeoutExpired:
            run.kill()
            self.faults.append(f"{self.source}: hangs")
            run.communicate()
            return "anything else"
        if run.returncode == 0:
            ended = "right"
        elif -run.returncode in killed:
            ended = "signal"
        elif run.returncode in (1, 2, 4) and "Traceback" not in text:
            ended = "ChunkscaleError"
        else:
            ended = "anything else"
            self.faults.append(f"{self.source}: {run.returncode}: {text.strip()[-600:]}")
        self.outcomes[ended] += 1
        return ended

    def finish(self) -> None:
        from kills import differences, files

        ended = self.end(self.start("--resume"))
        wrong = differences(files(self.out.parent), self.expected) if ended == "right" else []
        if ended == "ChunkscaleError" or wrong:
            self.faults.append(f"{self.source}: resumed: {ended}: {wrong[:5]}")

    def signalled(self, number: int) -> None:
        """One run gets a signal."""
        run = self.start()
        self.await_output(run)
        run.send_signal(number)
        self.end(run, killed=(number,))

    def stopped(self) -> None:
        """Stop a run for longer than its lease, which it keeps; then it goes on."""
        run = self.start()
        self.await_output(run)
        run.send_signal(signal.SIGSTOP)
        time.sleep(1.5)
        ended = run.poll()
        other = self.start("--resume")
        if self.end(other) == "right" and ended is None and self.draw_is_open():
            self.faults.append(f"{self.source}: a stopped run has lost its output")
        run.send_signal(signal.SIGCONT)
        self.end(run)

    def draw_is_open(self) -> bool:
        """Whether the stopped run had begun to write and had not ended."""
        return (self.out / ".chunkscale" / "run.json").exists()

    def together(self, runs: int, cache: Path | None = None) -> None:
        """Several runs begin at once."""
        begun = [self.start("--resume", cache=cache) for _ in range(runs)]
        for run in begun:
            self.end(run)


def main() -> int:
    from kills import RIGHT, files, make_sources

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    draw = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "sources").mkdir()
        make_sources(folder / "sources")
        wrong = 0
        for source in ("labels", "plate"):
            first = Round(folder, source, {}, draw)
            assert first.end(first.start()) == RIGHT, first.faults
            expected = files(first.out.parent)
            kinds = {
                "SIGINT": lambda r: r.signalled(signal.SIGINT),
                "SIGTERM": lambda r: r.signalled(signal.SIGTERM),
                "SIGHUP": lambda r: r.signalled(signal.SIGHUP),
                "SIGSTOP": Round.stopped,
                "two at once": lambda r: r.together(2),
                "three at once, one new kernel cache": lambda r: r.together(
                    3, Path(tempfile.mkdtemp(dir=folder))
                ),
            }
            for kind, disturb in kinds.items():
                outcomes: Counter[str] = Counter()
                for _ in range(given.rounds):
                    one = Round(folder, source, expected, draw)
                    disturb(one)
                    one.finish()
                    outcomes += one.outcomes
                    wrong += len(one.faults)
                    for fault in one.faults:
                        print(f"  {kind}: {fault}", flush=True)
                told = ", ".join(f"{n} {what}" for what, n in outcomes.items())
                print(f"{source}, {kind}: {told}", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
