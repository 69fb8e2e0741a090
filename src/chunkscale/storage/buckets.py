"""Open buckets of object stores: the only import of obstore besides `objects`."""

from __future__ import annotations

import functools
import os
from datetime import timedelta
from typing import Any

from chunkscale.errors import OptionError
from chunkscale.storage import patience
from chunkscale.storage.credentials import aws_access, frozen_credentials
from chunkscale.storage.locations import StoreOptions, options_of, split_url

#: Variables of the environment on which an open bucket depends.
_VARIABLES = ("AWS_", "GOOGLE_", "AZURE_")


def open_bucket(uri: str) -> tuple[Any, str]:
    """Return the obstore store of a location's bucket, and its key there."""
    scheme, bucket, key = split_url(uri)
    environment = tuple(sorted(v for v in os.environ.items() if v[0].startswith(_VARIABLES)))
    return _opened_bucket(scheme, bucket, options_of(uri), environment), key


@functools.lru_cache(maxsize=16)
def _opened_bucket(
    scheme: str, bucket: str, options: StoreOptions, environment: tuple[tuple[str, str], ...]
) -> Any:
    """Open a bucket once, because each has connections of its own."""
    try:
        from obstore import store
    except ImportError as error:
        raise OptionError(
            f"{scheme}:// needs the package obstore; install the extra chunkscale[cloud]"
        ) from error
    kinds = {"s3": store.S3Store, "gs": store.GCSStore, "az": store.AzureStore}
    config: dict[str, Any] = {}
    if options.anon:
        config["skip_signature"] = True
    endpoint = options.endpoint
    if scheme == "s3":
        aws = aws_access(options)
        endpoint, config["region"] = aws.endpoint, aws.region
        if aws.credentials is not None:
            config["credential_provider"] = functools.partial(frozen_credentials, aws.credentials)
    elif scheme == "az" and options.account:
        config["account_name"] = options.account
    if endpoint:
        config["base_url" if scheme == "gs" else "endpoint"] = endpoint
    return kinds[scheme](
        bucket,
        client_options={
            "timeout": timedelta(seconds=patience.REQUEST_SECONDS),
            "allow_http": (endpoint or "").startswith("http://"),
        },
        retry_config={
            "max_retries": patience.RETRIES,
            "retry_timeout": timedelta(seconds=patience.REQUEST_SECONDS),
            "backoff": {
                "init_backoff": patience.FIRST_WAIT,
                "max_backoff": patience.LONGEST_WAIT,
                "base": 2,
            },
        },
        **config,
    )
