"""Buckets of object stores, opened, and what is raised there as errors of this package."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import socket
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from chunkscale.errors import AccessDeniedError, OptionError, SourceNotFoundError
from chunkscale.host.forks import fork_error, inherited
from chunkscale.storage import failures, patience
from chunkscale.storage.credentials import aws_access, frozen_credentials
from chunkscale.storage.failures import forgetting, no_connection, unreached
from chunkscale.storage.locations import Location, StoreOptions, parse_endpoint, split_url

#: What a bucket is called by scheme.
BUCKETS = {"s3": "bucket", "gs": "bucket", "az": "container"}

#: Variables of the environment on which an open bucket depends.
_VARIABLES = ("AWS_", "GOOGLE_", "AZURE_")


def completed(scheme: str, options: StoreOptions) -> StoreOptions:
    """Add what this process' environment says: a worker must not reach another store."""
    if scheme != "s3":
        return options
    endpoint = _variable("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
    return StoreOptions(
        endpoint=options.endpoint or (endpoint and parse_endpoint(endpoint)),
        region=options.region or _variable("AWS_REGION", "AWS_DEFAULT_REGION"),
        anon=options.anon,
        profile=options.profile,
    )


def _variable(*variables: str) -> str | None:
    return next((os.environ[name] for name in variables if os.environ.get(name)), None)


def options_of(uri: str) -> StoreOptions:
    if isinstance(uri, Location):
        return uri.options
    return completed(split_url(uri)[0], StoreOptions())


def root(uri: str) -> str:
    """Return the location of the whole bucket that a location lies in."""
    scheme, bucket, _ = split_url(uri)
    return Location(f"{scheme}://{bucket}", options_of(uri))


def open_bucket(uri: str) -> tuple[Any, str]:
    """Return the obstore store of a location's bucket, and its key there."""
    if inherited("obstore"):
        raise fork_error(f"the bucket of {uri!r}")
    scheme, bucket, key = split_url(uri)
    environment = tuple(sorted(v for v in os.environ.items() if v[0].startswith(_VARIABLES)))
    try:
        return opened_bucket(scheme, bucket, options_of(uri), environment), key
    except _ClosedError as error:
        raise unreached(uri, str(error), True) from None


class _ClosedError(Exception):
    """Nobody listens at an endpoint."""


def _refuse_closed(endpoint: str) -> None:
    """Raise if nobody listens at an endpoint.

    With the patience that a busy server needs obstore would try for a quarter of a minute.
    """
    from urllib.request import getproxies  # brings http.client, which no other verb needs

    place = urlsplit(endpoint)
    if getproxies() or not place.hostname:
        return  # a proxy reaches other places
    port = place.port or (80 if place.scheme == "http" else 443)
    try:
        socket.create_connection((place.hostname, port), patience.CONNECT_SECONDS).close()
    except OSError as error:
        if reason := no_connection(error, endpoint):
            raise _ClosedError(reason) from None


@functools.lru_cache(maxsize=16)
def opened_bucket(
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
        _refuse_closed(endpoint)
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


#: What a store says of a bucket that is not there.
_NO_BUCKET = ("NoSuchBucket", "ContainerNotFound")


@forgetting
def clear_bucket_errors(uri: str) -> Iterator[None]:
    """Turn what obstore raises into errors that name the location and hold no secrets.

    Its own hold the server's whole answer, which may repeat what was signed.
    """
    from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

    try:
        yield
    except (BaseError, FileNotFoundError) as error:
        text = str(error)
        denied = isinstance(error, PermissionDeniedError | UnauthenticatedError)
        missing, kind = isinstance(error, FileNotFoundError), type(error).__name__
    else:
        return
    code = next(iter(re.findall(r"<Code>(\w+)</Code>", text)), "")
    status = next(iter(re.findall(r"status code: (\d+[ \w]*)", text)), "")
    reason = " ".join(part for part in (status.strip(), code) if part)
    if code in _NO_BUCKET:
        raise SourceNotFoundError(
            f"the {_bucket_of(uri)} does not exist ({uri!r}); check its name and the endpoint"
        ) from None
    if missing:
        raise FileNotFoundError(f"{uri!r} does not exist") from None
    if denied or status.startswith(("401", "403")):
        raise _denial(uri, reason) from None
    if status.startswith("3") or "redirect" in text:
        reason = f"{reason or 'it redirects'}: the bucket is in another region; set the region"
    trouble = reason or next(iter(re.findall(r"HTTP error: (.*)", text)), kind)
    # A refusal that is none of the above stays one.
    refused = status.startswith(("3", "4")) and not status.startswith(("408", "409", "429"))
    raise unreached(uri, trouble, not refused) from None


def clear_answers(uri: str) -> contextlib.AbstractContextManager[None]:
    """Turn what tensorstore raises for an object store into clear errors without secrets."""
    return failures.clear_answers(functools.partial(_denial, uri))


def _bucket_of(uri: str) -> str:
    """Return the bucket of an object as users write it, with the server where it is not usual."""
    scheme, bucket, _ = split_url(uri)
    endpoint = options_of(uri).endpoint
    return f"{BUCKETS[scheme]} {bucket!r}" + (f" at {endpoint}" if endpoint else "")


def _denial(uri: str, reason: str = "") -> AccessDeniedError:
    """Return the error that says what to set where access was denied."""
    remedies = {
        "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the storage option profile; "
        "for a public bucket the storage option anon",
        "gs": "set GOOGLE_APPLICATION_CREDENTIALS; for a public bucket the storage option anon",
        "az": "set AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN; for a public container "
        "the storage option anon",
    }
    said = f" ({reason})" if reason else ""
    return AccessDeniedError(f"access to {uri!r} was denied{said}; {remedies[split_url(uri)[0]]}")
