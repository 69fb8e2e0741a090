"""What a container, a batch job or the shell leaves of this machine for a process.

Dask's own readers were no help: `distributed.system` looks at the mount alone, not at the group of
this process or at what others in it use, and `dask.system` misses some layouts of version 1.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from chunkscale.host.memory import total_bytes
from chunkscale.text import human_bytes

MIB = 2**20


@dataclass(frozen=True, slots=True)
class Limit:
    """The most that this process may have of something, and who says so."""

    amount: int
    origin: str


def memory_limits(
    root: Path = Path("/"), environ: Mapping[str, str] = os.environ
) -> Iterator[Limit]:
    """Yield what this process may hold in all, by control groups, Slurm and the shell.

    What is more than the machine has is no limit.

    Parameters
    ----------
    root : Path
        Where ``proc`` and ``sys`` are.
    environ : mapping
    """
    groups = _groups(root, {"memory": ("memory",), "": ("", "unified")})
    found = itertools.chain(*map(_group_memory, groups), _slurm_memory(environ), _shell_memory())
    total = total_bytes()
    yield from (limit for limit in found if limit.amount < total)


def core_limits(root: Path = Path("/"), environ: Mapping[str, str] = os.environ) -> Iterator[Limit]:
    """Yield how many cores this process may use, by control groups and batch systems."""
    mounts = {"cpu": ("cpu", "cpu,cpuacct", "cpuacct,cpu"), "": ("", "unified")}
    for group in _groups(root, mounts):
        words = _text(f"{group}/cpu.max").split()
        quota, period = [*words, "", ""][:2]
        if not words:
            quota = _text(f"{group}/cpu.cfs_quota_us")
            period = _text(f"{group}/cpu.cfs_period_us") if quota else ""
        if quota.isdigit() and period.isdigit() and int(quota) and int(period):
            yield Limit(math.ceil(int(quota) / int(period)), f"the quota of the cgroup {group}")
    for job, names in _BATCH_CORES.items():
        given = [name for name in names if job in environ and _number(environ.get(name))]
        for name in given[:1]:
            yield Limit(_number(environ[name]), f"{name}={environ[name]}")


def usable_cores() -> Limit:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):  # which needs no /proc
        here = len(os.sched_getaffinity(0))
    else:
        known = hasattr(psutil.Process, "cpu_affinity")
        here = len(psutil.Process().cpu_affinity()) if known else os.cpu_count() or 1
    said = getattr(os, "process_cpu_count", os.cpu_count)()  # PYTHON_CPU_COUNT, of Python 3.13
    found = [Limit(min(here, said or here), "the cores of this machine"), *core_limits()]
    return min(found, key=lambda limit: limit.amount)


#: Variable that a batch system sets in every job -> those with the cores of a process, the best
#: first. Where a job has several hosts some count those of all, which the other limits make good.
_BATCH_CORES = {
    "SLURM_JOB_ID": ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE"),
    "SLURM_JOBID": ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE"),
    "LSB_JOBID": ("LSB_DJOB_NUMPROC",),
    "PBS_JOBID": ("NCPUS", "PBS_NUM_PPN"),
    "SGE_TASK_ID": ("NSLOTS",),
}


def _groups(root: Path, mounts: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    """Yield the control groups of this process and those above them, as far as they are mounted.

    Parameters
    ----------
    root : Path
    mounts : mapping
        By controller, which has no name in version 2: where its groups may be mounted.
    """
    paths: dict[str, str] = {}
    for line in _text(os.path.join(root, "proc/self/cgroup")).splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        paths |= dict.fromkeys(controllers.split(","), path)
    for controller, names in mounts.items():
        parts = [part for part in paths.get(controller, "").split("/") if part not in ("", "..")]
        for name in names:
            mount = os.path.join(root, "sys/fs/cgroup", name).rstrip("/")
            # A container may see its own group alone, at the mount, or just the end of the path.
            ways = (os.path.join(mount, *parts[start:]) for start in range(len(parts) + 1))
            group = next(filter(os.path.isdir, ways), mount)
            while os.path.isdir(group):
                yield group
                group = os.path.dirname(group) if group != mount else ""


#: Version 1 has no word for "no limit", but the largest number of pages.
_UNLIMITED = 2**62


def _group_memory(group: str) -> Iterator[Limit]:
    """Yield what a control group leaves to this process of its limits."""
    stat = dict(
        line.split(" ", 1) for line in _text(f"{group}/memory.stat").splitlines() if " " in line
    )
    said = [_text(f"{group}/memory.{name}") for name in ("max", "high", "limit_in_bytes")]
    # Above a group of version 1 there may be others that a container does not see.
    said.append(stat.get("hierarchical_memory_limit", ""))
    limits = [int(text) for text in said if text.isdigit() and int(text) < _UNLIMITED]
    if not limits:
        return
    old = "total_" if "total_active_file" in stat else ""
    cache = sum(_number(stat.get(f"{old}{kind}_file")) for kind in ("active", "inactive"))
    used = next(
        filter(
            None, (_number(_text(f"{group}/memory.{n}")) for n in ("current", "usage_in_bytes"))
        ),
        0,
    )
    own = psutil.Process().memory_info()
    others = max(0, used - cache - (own.rss - getattr(own, "shared", 0)))
    for most in limits:
        origin = f"the limit of {human_bytes(most)} of the cgroup {group}"
        if others:
            origin += f", of which others use {human_bytes(others)}"
        yield Limit(max(0, most - others), origin)


def _slurm_memory(environ: Mapping[str, str]) -> Iterator[Limit]:
    if not {"SLURM_JOB_ID", "SLURM_JOBID"} & set(environ):
        return
    number = {name: _number(text) for name, text in environ.items() if name.startswith("SLURM_")}
    names = ["SLURM_MEM_PER_NODE"]
    node = number.get(names[0], 0)  # 0 is all of it
    if not node:
        names = ["SLURM_MEM_PER_CPU", "SLURM_CPUS_ON_NODE"]
        node = math.prod(number.get(name, 0) for name in names)
    # Tasks that srun has started on this node share it.
    steps, nodes = (max(1, number.get(f"SLURM_STEP_NUM_{n}", 1)) for n in ("TASKS", "NODES"))
    tasks = math.ceil(steps / nodes)
    if node:
        text = " x ".join(f"{name}={environ[name]}" for name in names)
        yield Limit(node * MIB // tasks, f"{text} (MiB)" + f" for {tasks} tasks" * (tasks > 1))


#: Address space that a run takes beyond what is resident, for libraries, and for the stacks and
#: arenas of each core, which take half of what is left at most: where there is no room for more
#: arenas glibc shares them. Of writable memory the same. Measured on two cores with a budget of 500
#: MiB: 0.9 GiB more than what is resident, and 0.1 GiB more of writable memory.
_RESERVED = {"RLIMIT_AS": (512 * MIB, 256 * MIB), "RLIMIT_DATA": (0, 64 * MIB)}


def _shell_memory() -> Iterator[Limit]:
    """Yield what ``ulimit`` leaves; of RLIMIT_RSS Linux takes no notice."""
    try:
        import resource
    except ImportError:  # Windows
        return
    for name, (reserved, each) in _RESERVED.items():
        most = resource.getrlimit(getattr(resource, name))[0]
        if 0 <= most != resource.RLIM_INFINITY:
            own = psutil.Process().memory_info()
            taken = own.vms if name == "RLIMIT_AS" else getattr(own, "data", 0)
            left = max(0, most - taken + own.rss - reserved)
            left -= min(left // 2, each * usable_cores().amount)
            yield Limit(left, f"the limit of {human_bytes(most)} of the shell ({name})")


def _number(text: str | None) -> int:
    text = (text or "").strip()
    return int(text) if text.isdigit() else 0


def _text(path: str) -> str:
    with contextlib.suppress(OSError, UnicodeDecodeError), open(path) as file:
        return file.read().strip()
    return ""
