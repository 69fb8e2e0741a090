"""Make an image isotropic together with its labels, and say what became of each object.

    python labels.py cells.ome.zarr isotropic.ome.zarr --voxel-size 0.5um
    python labels.py cells.ome.zarr isotropic.ome.zarr --labels nuclei

Labels are never averaged. Where voxels become larger, each gets its most frequent label, so thin
objects may disappear: they are named. Run it again after an interruption: it goes on.
"""

import argparse
import math
import statistics
import sys
from collections import Counter

import numpy as np

import chunkscale


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """Return what was typed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", help="an OME-Zarr image with labels")
    parser.add_argument("out", help="a new image")
    parser.add_argument("--labels", default="all", help="names: nuclei,cells (default: all)")
    parser.add_argument(
        "--voxel-size", default="finest", help="0.5um, z=1um, ... (default: finest)"
    )
    parser.add_argument("--memory", help="at most this much, like 8GiB")
    return parser.parse_args(argv)


def volumes(path: str) -> dict[int, float]:
    """Return the volume of each object, block by block: images may be larger than memory."""
    labels = chunkscale.open_image(path)
    voxel = math.prod(labels.voxel_size.values())
    counts: Counter[int] = Counter()
    for block in labels.as_dask().blocks.ravel():
        ids, voxels = np.unique(block.compute(), return_counts=True)
        counts.update(dict(zip(ids.tolist(), voxels.tolist(), strict=True)))
    return {i: n * voxel for i, n in sorted(counts.items()) if i}


def main(argv: list[str] | None = None) -> str | None:
    """Resample, compare the volumes, and return what went wrong, if anything."""
    given = arguments(argv)
    try:
        run = chunkscale.resample(
            given.source,
            given.out,
            labels=True if given.labels == "all" else given.labels,
            voxel_size=given.voxel_size,
            antialias=True,
            memory=given.memory,
            resume=True,
        )
        print(run)
        if not run.labels:
            return f"error: {given.source} has no labels"
        for label in run.labels:
            name = label.path.rpartition("/labels/")[2]
            before, after = volumes(f"{given.source}/labels/{name}"), volumes(label.path)
            print(f"{name}: {len(after)} of {len(before)} objects are left")
            if changes := [abs(after[i] / before[i] - 1) for i in after]:
                middle = statistics.median(changes)
                print(f"{name}: half of the volumes changed by {middle:.2%} at most")
            if lost := before.keys() - after.keys():
                print(f"{name}: too thin for these voxels:", *sorted(lost))
    except chunkscale.ChunkscaleError as error:
        return f"error: {error}"
    return None


if __name__ == "__main__":
    sys.exit(main())
