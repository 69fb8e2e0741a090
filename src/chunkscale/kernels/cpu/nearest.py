"""Nearest: voxels are gathered as they are."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from chunkscale.kernels.cpu.jit import entry, part
from chunkscale.kernels.weights import AxisWeights

Array = NDArray[Any]


@entry
def pick(block: Array, out: Array, z: AxisWeights, y: AxisWeights, x: AxisWeights) -> None:
    """Gather ``out[k, j, i] = block[z[k], y[j], x[i]]``."""
    for k in range(out.shape[0]):
        for j in range(out.shape[1]):
            row = out[k, j]
            if j > 0 and y.first[j] == y.first[j - 1]:
                copy(row, out[k, j - 1])
            elif x.is_slice:
                copy(row, block[z.first[k], y.first[j], x.first[0] :])
            else:
                source = block[z.first[k], y.first[j]]
                for i in range(row.size):
                    row[i] = source[np.uint64(x.first[i])]


@part
def copy(out: Array, values: Array) -> None:
    """Convert as many values as `out` holds."""
    for i in range(out.size):
        out[i] = values[i]
