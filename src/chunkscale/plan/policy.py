"""Every constant that plans are made with, and its reason."""

from __future__ import annotations

MIB = 2**20

#: Resident memory of a process that has imported everything, xarray too, and compiled its kernels:
#: 319 MiB, and 251 in later runs without xarray (`pytest tests/host -k base` measures it).
BASE_BYTES = 344 * MIB

#: The same of a process that has a GPU's context, ...
GPU_BASE_BYTES = 1024 * MIB

#: ... and what that takes of the GPU's memory.
DEVICE_BASE_BYTES = 768 * MIB

#: Regions on a device at once: one is copied there, one computed, one copied back, one waits.
MOST_LANES = 4

#: What allocations are rounded up to: on the device, and of host memory that it copies.
DEVICE_ALIGNMENT = 512

HUGE_PAGE = 2 * MIB

#: Regions of smaller outputs are at most this large (decoded bytes of level 0) ...
SMALL_REGION = 32 * MIB

#: ... twice that on a GPU: a region's copies and kernels are started one by one, and while codecs
#: keep all cores busy each of them waits for a turn ...
GPU_REGION_FACTOR = 2

#: ... and those of huge outputs this large, so that there are fewer objects.
LARGE_REGION = 256 * MIB

#: Up to so many times as large they may be if each chunk of the source is then decoded for one of
#: them alone, and for no smaller ones (all planes of a stack, say): what neighbours share goes
#: through memory twice (a twentieth of a run and more, with 128x1024x1024 voxels to 0.2).
ALONE_FACTOR = 4

#: On the CPU larger ones are made and written in slabs, of at least this part of what others may
#: have: one is made while the one before is encoded, so that codecs begin early and two are held.
SLAB_FRACTION = 2

#: Regions of later passes; they read eight times as much.
LATER_REGION = 8 * MIB

#: What a decoded byte costs that waits in the cache for a neighbour, in decoded bytes.
CACHED = 0.7

#: Above this step plain interpolation skips whole source voxels.
ALIASING_STEP = 2.0

MAX_DOUBLINGS = 8
