"""The allocator: it keeps freed blocks for codecs while a worker of Dask has regions to make."""

import json
import os
import platform
import subprocess
import sys

import pytest

FAULTS = """
import ctypes, json, resource
from chunkscale.host.allocator import tuned

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(50):
        block = ctypes.c_void_p(libc.malloc(ctypes.c_size_t(2**20)))
        ctypes.memset(block, 1, 2**20)
        libc.free(block)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

found = [faults()]
with tuned():
    with tuned():
        found.append(faults())
    found.append(faults())
found.append(faults())
print(json.dumps(found))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc that is told")
def test_freed_blocks_are_kept_inside_and_given_back_outside():
    """With Dask's environment; by several threads at once it is on until the last one leaves."""
    text = subprocess.run(
        [sys.executable, "-c", FAULTS], check=True, capture_output=True,
        env=os.environ | {"MALLOC_TRIM_THRESHOLD_": "65536"},
    ).stdout  # fmt: skip
    before, inner, outer, after = json.loads(text)
    assert inner < before / 4
    assert outer < before / 4
    assert after > before / 2
