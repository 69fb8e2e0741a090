"""What a container, a batch job or the shell allows, is what plans keep to."""

import resource

import numpy as np
import psutil
import pytest

import chunkscale
from chunkscale import options
from chunkscale.host import limits
from chunkscale.host.limits import MIB, core_limits, memory_limits

HUGE = 9223372036854771712


@pytest.fixture
def tree(tmp_path):
    """Return a function that makes the files of /proc and /sys/fs/cgroup, and gives their root."""

    def make(files, groups="0::/\n"):
        for name, text in {"proc/self/cgroup": groups, **files}.items():
            path = tmp_path / "root" / name.replace("CG", "sys/fs/cgroup")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{text}\n")
        return tmp_path / "root"

    return make


def memory(root, environ=None):
    """Return the least limit of memory in MiB, and who says so."""
    found = min(memory_limits(root, environ or {}), key=lambda limit: limit.amount, default=None)
    return (None, "") if found is None else (found.amount / MIB, found.origin)


def cores(root, environ=None):
    return min((limit.amount for limit in core_limits(root, environ or {})), default=None)


V1 = "4:memory:/docker/abc\n2:cpuacct,cpu:/docker/abc\n0::/\n"


@pytest.mark.parametrize(
    ("files", "groups", "wanted"),
    [
        ({"CG/memory.max": 512 * MIB}, "0::/\n", 512),
        ({"CG/a/b/memory.max": 512 * MIB, "CG/a/memory.max": 300 * MIB}, "0::/a/b\n", 300),
        ({"CG/a/b/memory.max": "max", "CG/a/memory.max": "max"}, "0::/a/b\n", None),
        ({"CG/a/memory.max": "max", "CG/a/memory.high": 400 * MIB}, "0::/a\n", 400),
        ({"CG/memory.max": 300 * MIB}, "0::/seen/from/the/host\n", 300),
        ({"CG/job/memory.max": 300 * MIB}, "0::/docker/abc/job\n", 300),
        ({"CG/memory.max": 300 * MIB}, "0::/../../elsewhere\n", 300),
        ({"CG/memory/memory.limit_in_bytes": 300 * MIB}, V1, 300),
        ({"CG/memory/docker/abc/memory.limit_in_bytes": 300 * MIB}, V1, 300),
        ({"CG/memory/docker/abc/memory.limit_in_bytes": HUGE}, V1, None),
        (
            {
                "CG/memory/memory.limit_in_bytes": HUGE,
                "CG/memory/memory.stat": f"hierarchical_memory_limit {200 * MIB}",
            },
            V1,
            200,
        ),
        ({"CG/unified/x/memory.max": 300 * MIB}, "4:memory:/\n0::/x\n", 300),
        ({"CG/memory.max": "nonsense"}, "nonsense\n", None),
        ({}, "0::/a\n", None),
    ],
)
def test_the_least_limit_of_all_groups_above_counts(tree, files, groups, wanted):
    """Of version 1 and 2, in a container and outside, whatever of it is mounted."""
    assert memory(tree(files, groups))[0] == wanted


@pytest.mark.parametrize("old", [False, True])
def test_what_others_use_of_a_group_is_not_ours(tree, old):
    """Apart from their cache of files, which the kernel takes back."""
    folder = "CG/memory/x" if old else "CG/x"
    names = ("limit_in_bytes", "usage_in_bytes", "total_") if old else ("max", "current", "")
    own = psutil.Process().memory_info()
    used = 200 * MIB + own.rss - own.shared
    root = tree(
        {
            f"{folder}/memory.{names[0]}": 2048 * MIB,
            f"{folder}/memory.{names[1]}": used,
            f"{folder}/memory.stat": f"anon 5\n{names[2]}inactive_file {40 * MIB}\n"
            f"{names[2]}active_file {60 * MIB}",
        },
        "4:memory:/x\n" if old else "0::/x\n",
    )
    left, origin = memory(root)
    assert abs(left - 1948) < 8
    assert "others use" in origin


@pytest.mark.parametrize(
    ("files", "groups", "wanted"),
    [
        ({"CG/a/cpu.max": "150000 100000"}, "0::/a\n", 2),
        ({"CG/a/cpu.max": "max 100000", "CG/cpu.max": "400000 100000"}, "0::/a\n", 4),
        ({"CG/cpu.max": "max 100000"}, "0::/\n", None),
        ({"CG/cpu/cpu.cfs_quota_us": 50000, "CG/cpu/cpu.cfs_period_us": 100000}, "3:cpu:/\n", 1),
        (
            {
                "CG/cpu,cpuacct/docker/abc/cpu.cfs_quota_us": 300000,
                "CG/cpu,cpuacct/docker/abc/cpu.cfs_period_us": 100000,
            },
            V1,
            3,
        ),
        ({"CG/cpu/cpu.cfs_quota_us": -1, "CG/cpu/cpu.cfs_period_us": 100000}, "3:cpu:/\n", None),
    ],
)
def test_quotas_of_cores_count(tree, files, groups, wanted):
    """Half a core is one; no quota is no limit."""
    assert cores(tree(files, groups)) == wanted


@pytest.mark.parametrize(
    ("environ", "mib", "count"),
    [
        ({"SLURM_MEM_PER_NODE": "600", "SLURM_CPUS_ON_NODE": "6"}, 600, 6),
        ({"SLURM_MEM_PER_NODE": "0", "SLURM_CPUS_PER_TASK": "3"}, None, 3),
        ({"SLURM_MEM_PER_CPU": "200", "SLURM_CPUS_ON_NODE": "4"}, 800, 4),
        ({"SLURM_MEM_PER_CPU": "200"}, None, None),
        (
            {
                "SLURM_MEM_PER_NODE": "600",
                "SLURM_STEP_NUM_TASKS": "6",
                "SLURM_STEP_NUM_NODES": "2",
            },
            200,
            None,
        ),
        ({"SLURM_MEM_PER_NODE": "lots", "SLURM_CPUS_PER_TASK": "0"}, None, None),
    ],
)
def test_slurm_says_what_a_job_has(tree, environ, mib, count):
    """In MiB; tasks of a node share it; outside of a job the variables mean nothing."""
    root = tree({})
    assert memory(root, environ)[0] is None
    assert cores(root, environ) is None
    inside = {"SLURM_JOB_ID": "7", **environ}
    assert memory(root, inside)[0] == mib
    assert cores(root, inside) == count


def test_other_batch_systems_say_how_many_cores(tree):
    """LSF, PBS and Grid Engine, in a job."""
    root = tree({})
    assert cores(root, {"LSB_JOBID": "1", "LSB_DJOB_NUMPROC": "3"}) == 3
    assert cores(root, {"PBS_JOBID": "1", "NCPUS": "2", "PBS_NUM_PPN": "5"}) == 2
    assert cores(root, {"SGE_TASK_ID": "undefined", "NSLOTS": "4"}) == 4
    assert cores(root, {"NSLOTS": "4"}) is None


@pytest.mark.parametrize("name", ["RLIMIT_AS", "RLIMIT_DATA"])
def test_the_shell_limits_a_process(tree, monkeypatch, name):
    """Less what is mapped, and less what stacks and arenas will take; without one there is none."""
    root = tree({})
    assert memory(root)[0] is None
    real = resource.getrlimit
    most = psutil.Process().memory_info().vms + 1900 * MIB
    monkeypatch.setattr(
        resource, "getrlimit",
        lambda what: (most, most) if what == getattr(resource, name) else real(what),
    )  # fmt: skip
    left, origin = memory(root)
    assert 0 < left < most / MIB
    assert name in origin


@pytest.fixture
def limited(monkeypatch):
    """Return a function that lets this process have so much, and no GPU's driver take a part."""
    monkeypatch.setattr("chunkscale.host.memory.bystander_bytes", lambda: 0)

    def give(mib):
        found = [limits.Limit(mib * MIB, "the limit of the cgroup /x")]
        monkeypatch.setattr(limits, "memory_limits", lambda *_: iter(found))

    return give


def test_a_plan_keeps_within_the_limit_and_says_whose_it_is(make_image, noise, limited, capsys):
    """By default; more that is asked for is warned of; what does not fit names the limit."""
    source = make_image(noise((48, 96, 96)), (2, 0.5, 0.5), chunk=(16, 48, 48))
    assert "default with" in str(chunkscale.plan_resampling(source, workers=1))
    limited(420)
    plan = chunkscale.plan_resampling(source)
    assert plan.memory.total <= 420 * MIB
    assert "90% of the limit of the cgroup /x" in str(plan)
    facts = plan.as_dict()
    assert facts["memory"]["limit"] == int(420 * MIB * 0.9)
    assert facts["memory"]["limit_from"] == "90% of the limit of the cgroup /x"
    assert facts["workers_from"]
    limited(360)
    asked = chunkscale.plan_resampling(source, memory="400MiB", workers=2)
    assert asked.memory.total > 360 * MIB
    assert [n.kind for n in asked.warnings] == ["memory"]
    assert "cgroup /x" in str(asked.warnings[0])
    limited(300)
    with pytest.raises(chunkscale.MemoryBudgetError, match=r"270 MiB .90% of the limit of the cgr"):
        chunkscale.plan_resampling(source)


@pytest.mark.parametrize(
    ("free", "workers", "system", "wanted"),
    [(64, 1, 64, 2), (64, 8, 64, 9), (3, 8, 64, 1.5), (64, 8, 2, 1.8)],
)
def test_memory_that_nobody_asks_for_is_a_part_of_what_there_is(
    free, workers, system, wanted, monkeypatch
):
    """In GiB: one and another for each worker; half of what is free; nine tenths of a limit."""
    gib = 1024 * MIB
    monkeypatch.setattr("chunkscale.host.memory.available_bytes", lambda: free * gib)
    found = options.default_memory(workers, [limits.Limit(system * gib, "the system")])
    assert found.amount == int(wanted * gib)


def test_a_plan_asks_once_what_memory_there_may_be(make_image, noise, monkeypatch):
    """Each look opens ten files and more, which small images would feel."""
    source, looks = make_image(noise((8, 8, 8)), (2, 0.5, 0.5), chunk=(8, 8, 8)), []
    real = limits.memory_limits
    monkeypatch.setattr(limits, "memory_limits", lambda *given: looks.append(1) or real(*given))
    chunkscale.plan_resampling(source, device="cpu")
    assert len(looks) == 1


def test_a_resumed_run_keeps_within_the_limit(make_image, noise, limited, tmp_path):
    """What the run before was promised is taken over only as far as the system gives it."""
    source, out = make_image(noise((48, 96, 96)), (2, 0.5, 0.5), chunk=(16, 48, 48)), tmp_path / "o"

    def stop(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        chunkscale.resample(source, out, workers=4, progress=stop, memory="1GiB", chunk=16)
    limited(420)
    plan = chunkscale.plan_resampling(source, destination=out, resume=True, chunk=16)
    assert plan.memory.total <= 420 * MIB
    limited(200)
    with pytest.raises(chunkscale.MemoryBudgetError, match=r"cgroup /x|resumed"):
        chunkscale.plan_resampling(source, destination=out, resume=True, chunk=16)


def test_workers_are_as_many_as_the_cores_that_are_left(monkeypatch, make_image, tmp_path):
    """Codec threads, too; an explicit number comes first."""
    source = make_image(np.zeros((64, 64, 64), "u2"), (2, 0.5, 0.5), chunk=(8, 8, 8))
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "1")
    plan = chunkscale.plan_resampling(source)
    assert plan.workers == plan.limits.threads == 1
    assert plan.as_dict()["workers_from"] == "SLURM_CPUS_PER_TASK=1"
    assert chunkscale.plan_resampling(source, workers=2).limits.workers == 2
