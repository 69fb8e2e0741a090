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

#: No region reads or makes more than this (decoded bytes), unless the smallest one does: what is
#: gained beyond is less than what a worker then holds.
LARGEST_REGION = 128 * MIB

#: What each region costs apart from its voxels, in bytes that are encoded ...
REGION_COST = 2 * MIB

#: ... more on a GPU: its copies and kernels are started one by one, and while codecs keep all
#: cores busy each of them waits for a turn.
GPU_REGION_COST = 6 * MIB

#: On the CPU regions of three slabs and more are made and written slab by slab: one is made while
#: the one before is encoded, so that codecs begin early and two are held.
SLAB_BYTES = 16 * MIB

#: Of huge outputs a slab, which is a shard, is larger, so that there are fewer objects.
MOST_SLABS = 2048

#: What a decoded byte costs that waits in the cache for a neighbour, in decoded bytes.
CACHED = 0.7

#: Above this step plain interpolation skips whole source voxels.
ALIASING_STEP = 2.0

MAX_DOUBLINGS = 8
