"""Make an image in an object store isotropic, without a copy on this machine.

    pip install 'chunkscale[cloud]'
    python object_store.py s3://lab/stack.ome.zarr s3://lab/isotropic.ome.zarr --region eu-west-1
    python object_store.py stack.ome.tif s3://lab/isotropic.ome.zarr --endpoint https://minio:9000

Source and output are s3://, gs:// or az:// URLs or local paths. Credentials are never options:
they come from the environment (AWS_ACCESS_KEY_ID, AWS_PROFILE, ...) and from profile files. Run
it again after an interruption: it goes on.
"""

import argparse
import sys

import chunkscale


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """Return what was typed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source")
    parser.add_argument("out", help="a new OME-Zarr image")
    parser.add_argument("--endpoint", help="URL of a server that is not Amazon's: MinIO, Ceph, ...")
    parser.add_argument("--region", help="of the bucket")
    parser.add_argument("--profile", help="of the AWS configuration")
    parser.add_argument(
        "--voxel-size", default="finest", help="0.5um, z=1um, ... (default: finest)"
    )
    parser.add_argument("--memory", help="at most this much, like 8GiB")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> str | None:
    """Resample and check, and return what went wrong, if anything."""
    given = arguments(argv)
    options = {name: getattr(given, name) for name in ("endpoint", "region", "profile")}
    reach = {"storage_options": {name: text for name, text in options.items() if text}}
    try:
        run = chunkscale.resample(
            given.source,
            given.out,
            voxel_size=given.voxel_size,
            antialias=True,
            memory=given.memory,
            resume=True,
            **reach,
        )
        print(run, flush=True)
        report = chunkscale.check(given.out, source=given.source, **reach)
    except chunkscale.ChunkscaleError as error:
        return f"error: {error}"
    print(report)
    return None if report else "error: the result has faults"


if __name__ == "__main__":
    sys.exit(main())
