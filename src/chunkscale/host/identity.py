"""Which process this is, and whether another one still lives."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

import psutil


def identity() -> tuple[str, int, float]:
    """Return host, number and start of this process.

    The host includes the process namespace, where there are such: containers
    may share a name.
    """
    host = socket.gethostname()
    with contextlib.suppress(OSError):  # not Linux
        host += f"/{os.stat('/proc/self/ns/pid').st_ino}"
    return host, os.getpid(), _started(os.getpid())


def lives(pid: int, started: float) -> bool:
    """Whether that process of this host still runs, as far as the system tells."""
    if os.name == "posix":
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass  # somebody else's
    began = _started(pid)
    if began and started and abs(began - started) > 1.0:
        return False  # the number was given to another
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return os.name == "posix" and not began  # it answers, and there is no /proc to say more
    except psutil.Error:
        return True


def _started(pid: int) -> float:
    """Return when a process began: on Linux in seconds since boot, as the time of day is set.

    0 where that cannot be told, as without /proc.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:  # not Linux, or there is none
        try:
            return float(psutil.Process(pid).create_time())
        except psutil.Error:
            return 0.0
    return int(fields[19]) / float(os.sysconf("SC_CLK_TCK"))
