"""From an object store to an object store: a stack in a bucket becomes isotropic there.

    python examples/object_store.py [FOLDER]
    BUCKET=s3://my-bucket/example AWS_PROFILE=me python examples/object_store.py

Without ``BUCKET`` a small server in this process stands in (moto, which the
extra ``test`` brings); where that is missing, too, there is nothing to do.
"""

import contextlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import chunkscale
from chunkscale.samples import SHAPE, VOXEL_SIZE, synthetic_cells, write_image


@contextlib.contextmanager
def bucket() -> Iterator[tuple[str, dict[str, str]]]:
    """Yield a URL below which there is room, and the options to reach it."""
    if "BUCKET" in os.environ:
        # Credentials, region and endpoint are found as usual; options come first.
        yield os.environ["BUCKET"].rstrip("/"), {}
        return
    try:
        from moto.server import ThreadedMotoServer
    except ImportError:
        sys.exit(print("set BUCKET=s3://BUCKET/PATH to run this example"))
    import boto3

    os.environ.update(AWS_ACCESS_KEY_ID="example", AWS_SECRET_ACCESS_KEY="example")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    logging.getLogger("werkzeug").setLevel("ERROR")
    server.start()
    try:
        options = {"endpoint": "http://{}:{}".format(*server.get_host_and_port())}
        client = boto3.client("s3", endpoint_url=options["endpoint"], region_name="us-east-1")
        client.create_bucket(Bucket="example")
        client.close()
        yield "s3://example/data", options
    finally:
        server.stop()


def main(folder: Path) -> None:
    axes = tuple(chunkscale.Axis(name=n, unit="micrometer") for n in "zyx")
    grid = chunkscale.VoxelGrid(axes=axes, shape=SHAPE, voxel_size=VOXEL_SIZE)
    stack = folder / "stack.ome.zarr"
    write_image(stack, synthetic_cells(), grid)
    with bucket() as (url, options):
        source, target = f"{url}/half.ome.zarr", f"{url}/iso.ome.zarr"
        # Local paths and URLs go together; what is there from an earlier try is continued.
        chunkscale.resample(stack, source, voxel_size=0.5, resume=True, storage_options=options)
        run = chunkscale.resample(source, target, zoom=0.5, resume=True, storage_options=options)
        print(run)
        image = chunkscale.open_image(target, storage_options=options)
        print(image)
        report = chunkscale.check(target, source=source, storage_options=options)
        print(report)
        assert report


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()))
