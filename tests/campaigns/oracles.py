"""What an output has to hold, from positions alone: nothing here is taken from the package."""

import itertools

import numpy as np

#: Of positions, in voxels of the source, that decide between two of them.
TIE = 1e-6


def positions(source, target, axis):
    """Return where the voxels of a target's axis lie, as indices of the source's."""
    i = target.names.index(axis)
    at = target.translation[i] + target.voxel_size[i] * np.arange(target.shape[i])
    return (at - source["translation"][axis]) / source["size"][axis]


def step_of(source, target, axis):
    """Return how many voxels of the source one of the target is long."""
    return target.voxel_size[target.names.index(axis)] / source["size"][axis]


def triangle(x):
    """Weigh a distance for linear interpolation."""
    return np.maximum(0.0, 1.0 - np.abs(x))


def catmull_rom(x):
    """Weigh a distance for cubic interpolation."""
    x = np.abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def windowed_sinc(x):
    """Weigh a distance for lanczos."""
    return np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0.0)


#: Method: weight of a distance, and how far it reaches. Where an axis grows an area is linear.
CURVES = {
    "linear": (triangle, 1),
    "cubic": (catmull_rom, 2),
    "lanczos": (windowed_sinc, 3),
    "area": (triangle, 1),
}


def matrix(at, count, step, method, antialias):
    """Return the weights of all voxels of an axis, by target."""
    curve, reach = CURVES[method]
    # Cut at the border; where an axis grows edge voxels are repeated.
    if step > 1 and (antialias or method == "area"):
        if method == "area":  # what of a voxel lies in the extent
            low, high = (at[:, None] + 0.5 + h * step for h in (-0.5, 0.5))
            voxel = np.arange(count)
            weights = np.maximum(np.minimum(high, voxel + 1) - np.maximum(low, voxel), 0.0)
        else:
            if method != "linear":  # farther out what it covers adds up to nothing
                at = np.clip(at, -0.5, count - 0.5)
            weights = curve((np.arange(count) - at[:, None]) / step)
        # What covers no voxel lies beyond the image.
        beyond = np.flatnonzero(np.abs(weights).sum(1) < 1e-9)
        weights[beyond, np.where(at[beyond] < 0, 0, count - 1)] = 1
        return weights / weights.sum(1, keepdims=True)
    at = np.clip(at, -reach - count, 2 * count + reach)
    weights = np.zeros((len(at), count))
    first = np.floor(at).astype(int)
    for tap in range(1 - reach, reach + 1):
        voxel = np.clip(first + tap, 0, count - 1)
        np.add.at(weights, (np.arange(len(at)), voxel), curve(first + tap - at))
    return weights / weights.sum(1, keepdims=True)


def mixed(data, places, steps, method, antialias):
    """Interpolate in float64 along the last axes."""
    result = data.astype(np.float64)
    for k, (at, step) in enumerate(zip(places, steps, strict=True)):
        axis = data.ndim - len(places) + k
        weights = matrix(at, data.shape[axis], step, method, antialias)
        result = np.moveaxis(np.tensordot(weights, result, (1, axis)), 0, axis)
    return result


def fault_of_mixed(found, expected):
    """Say what is further away from the float64 interpolant than rounding takes it."""
    kind = found.dtype
    if kind.kind == "f":
        relative = {2: 2e-3, 4: 2e-6, 8: 1e-11}[kind.itemsize]
        allowed = relative * (np.abs(expected) + 500)
    else:
        low, high = (0, 1) if kind.kind == "b" else (np.iinfo(kind).min, np.iinfo(kind).max)
        expected = np.clip(expected, float(low), float(high))
        # Half a grey value of rounding, and float32 (float64 for more than 16 bits) before it.
        allowed = 0.52 + np.abs(expected) * (2.0**-21 if kind.itemsize <= 2 else 2.0**-46)
    wrong = ~(np.abs(found.astype(np.float64) - expected) <= allowed)
    return told(wrong, found, expected)


def fault_of_nearest(found, data, places):
    """Say what is not the voxel whose extent holds the centre; at a border it may be either."""
    ways = []
    for k, at in enumerate(places):
        count = data.shape[data.ndim - len(places) + k]
        ends = [np.clip(np.floor(at + 0.5 + d).astype(int), 0, count - 1) for d in (-TIE, TIE)]
        ways.append(ends[:1] if np.array_equal(*ends) else ends)
    right = np.zeros(found.shape, bool)
    for way in itertools.product(*ways):
        taken = data
        for k, index in enumerate(way):
            taken = np.take(taken, index, data.ndim - len(places) + k)
        right |= same(found, taken)
    return told(~right, found, taken)


def most_frequent(voxels):
    """Return the smallest of the most frequent numbers."""
    values, counts = np.unique(voxels, return_counts=True)
    return values[counts == counts.max()].min()


#: Method: what it takes of the numbers of a cell.
TAKEN = {"mode": most_frequent, "max": np.max}


def fault_of_cells(found, data, places, steps, method, random, most=150):
    """Look at the voxels of some cells: each target has one of them, NaN where all are."""
    lead = data.ndim - len(places)
    for _ in range(min(most, found.size)):
        target = tuple(int(random.integers(n)) for n in found.shape)
        cells = [
            _cell(at[i], step, count)
            for at, step, count, i in zip(
                places, steps, data.shape[lead:], target[lead:], strict=True
            )
        ]
        if None in cells:
            continue
        voxels = data[target[:lead]][np.ix_(*cells)].ravel()
        numbers = voxels[voxels == voxels]
        expected = TAKEN[method](numbers) if len(numbers) else np.nan
        if not same(found[target], expected):
            return f"voxel {target} is {found[target]} and should be {expected}"
    return None


def _cell(at, step, count):
    """Return the voxels that a target takes along an axis; None where it is a tie."""
    if step <= 1 + 1e-9:
        ends = [int(np.floor(at + 0.5 + d)) for d in (-TIE, TIE)]
        return None if ends[0] != ends[1] else [min(max(ends[0], 0), count - 1)]
    low, high = at - step / 2, at + step / 2
    if min(abs(low - round(low)), abs(high - round(high))) < TIE:
        return None
    inside = range(max(int(np.ceil(low)), 0), min(int(np.ceil(high)), count))
    return list(inside) or [0 if low < 0 else count - 1]


def same(found, expected):
    """Return where values are equal, NaN among them."""
    return (found == expected) | ((found != found) & (expected != expected))


def told(wrong, found, expected):
    """Say where the first of the wrong voxels is; None if there is none."""
    if not wrong.any():
        return None
    at = tuple(int(i) for i in np.argwhere(wrong)[0])
    return (
        f"{int(wrong.sum())} of {wrong.size} voxels; the first, at {at}, is {found[at]} "
        f"and should be {expected[at]}"
    )
