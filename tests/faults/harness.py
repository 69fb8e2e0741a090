"""What the fault tests need: failing stores, drivers to kill, and how often."""

import os
import random
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

#: As in the fixture of that name, for drivers in processes of their own.
LARGEST_REGION = 2**12
#: Who runs the tests in the background of a shell has made them ignore SIGINT.
_DRIVER = f"""
import signal, sys
from chunkscale.output import ledger
from chunkscale.plan import policy
signal.signal(signal.SIGINT, signal.default_int_handler)
policy.LARGEST_REGION = {LARGEST_REGION}
ledger.FLUSH_SECONDS = (0.05, 0.05)  # these runs are over before the usual first flush
from chunkscale.cli.main import main
sys.exit(main())
"""


def repeats(few, many):
    """Return how often to do it: `few` times in the suite, `many` with CHUNKSCALE_FAULTS=1."""
    return many if os.environ.get("CHUNKSCALE_FAULTS") else few


@dataclass(frozen=True)
class Flaky:
    """Let a part of all requests fail, in whichever process they are made.

    It is what `chunkscale.storage.engine.StoreIO` takes as ``faults``.

    Parameters
    ----------
    part : float
    """

    part: float

    def __call__(self, what, uri):
        """Raise, or not."""
        if random.random() < self.part:
            raise ConnectionResetError(f"injected: the store broke off a {what} of {uri}")


def start_driver(source: Path, out: Path, options, *more) -> subprocess.Popen:
    """Start the command line in a process of its own, with small regions."""
    given = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    return subprocess.Popen(
        [sys.executable, "-c", _DRIVER, "resample", source, out, *given, *more],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
