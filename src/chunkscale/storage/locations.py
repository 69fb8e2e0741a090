"""Locations: local paths and URLs as values, with what it takes to reach them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from chunkscale.errors import OptionError

#: What a bucket is called by scheme.
BUCKETS = {"s3": "bucket", "gs": "bucket", "az": "container"}


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreOptions:
    """How to reach an object store. Nothing in it is a secret: credentials are found elsewhere.

    Parameters
    ----------
    endpoint : str, optional
        URL of the server, where it is not the provider's own.
    region : str, optional
    anon : bool
        Send no credentials.
    profile : str, optional
        Section of the AWS configuration files that holds the credentials.
    account : str, optional
        Azure storage account.
    """

    endpoint: str | None = None
    region: str | None = None
    anon: bool = False
    profile: str | None = None
    account: str | None = None


_SYNONYMS = {"endpoint_url": "endpoint", "anonymous": "anon", "account_name": "account"}

_SECRETS = re.compile(r"key|secret|token|password|credential|sas", re.IGNORECASE)


def parse_options(given: Mapping[str, Any] | None) -> StoreOptions:
    """Return the storage options that a user gave, or refuse them.

    Examples
    --------
    >>> parse_options({"anon": "true", "region": "eu-west-1"})
    StoreOptions(endpoint=None, region='eu-west-1', anon=True, profile=None, account=None)
    """
    if given is not None and not isinstance(given, Mapping):
        raise OptionError(
            "storage_options are not a mapping; give them like {'endpoint': 'https://host'}"
        )
    known = [field.name for field in fields(StoreOptions)]
    parsed: dict[str, Any] = {}
    for key, value in (given or {}).items():
        name = _SYNONYMS.get(key, key)
        if name not in known:
            # The value may be a secret, so it is not repeated.
            hint = (
                "; credentials are taken from the environment (AWS_ACCESS_KEY_ID and the like) "
                "and from profile files" if _SECRETS.search(str(key)) else ""
            )  # fmt: skip
            raise OptionError(
                f"storage option {key!r} is not known; there are {', '.join(known)}{hint}"
            )
        parsed[name] = _flag(key, value) if name == "anon" else str(value)
    if "endpoint" in parsed:
        parsed["endpoint"] = parse_endpoint(parsed["endpoint"])
    return StoreOptions(**parsed)


def _flag(key: str, value: object) -> bool:
    flags = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    try:
        return flags[str(value).lower()]
    except KeyError:
        raise OptionError(f"storage option {key!r} must be true or false, not {value!r}") from None


def parse_endpoint(url: str) -> str:
    parts = urlsplit(url)
    _refuse_password(parts.netloc, "an endpoint")
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise OptionError(f"endpoint {url!r} is not an http(s) URL; give it like https://host:9000")
    return url.rstrip("/")


def _refuse_password(netloc: str, what: str) -> None:
    # A URL gets into metadata, logs and messages.
    if "@" in netloc:
        raise OptionError(
            f"{what} holds a user name or a password ({netloc.rpartition('@')[2]!r}); take it out: "
            "URLs are written into metadata and logs"
        )


class Location(str):
    """A URL in an object store that remembers how it is reached, wherever it is sent to.

    It prints, compares and is stored as the plain URL.
    """

    __slots__ = ("options",)
    options: StoreOptions

    def __new__(cls, url: str, options: StoreOptions) -> Location:
        self = super().__new__(cls, url)
        self.options = options
        return self

    def __reduce__(self) -> tuple[type, tuple[str, StoreOptions]]:
        return type(self), (str(self), self.options)


def is_remote(uri: str) -> bool:
    """Whether `uri` is a URL rather than a local path."""
    return "://" in uri and not uri.startswith("file://")


def in_bucket(uri: str) -> bool:
    """Whether `uri` lies in an object store, which lists, takes and deletes objects."""
    return urlsplit(uri).scheme in BUCKETS if is_remote(uri) else False


def normalise(uri: str | os.PathLike[str], options: Mapping[str, Any] | None = None) -> str:
    """Return a URL without a trailing slash, or an absolute local path.

    Parameters
    ----------
    uri : str or path-like
        A location that was normalised before keeps its options.
    options : mapping, optional
        Those of the user; they are for object stores.

    Raises
    ------
    OptionError
        For URL schemes that are not supported, and bad options.
    """
    parsed = parse_options(options)
    text: object = os.fspath(uri)
    if not isinstance(text, str):
        raise OptionError(f"the path {text!r} is no text; decode it (os.fsdecode)")
    if not text:
        raise OptionError("the path is empty; give the path of an OME-Zarr image")
    if isinstance(text, Location) and options is None:
        return text
    if text.startswith("file://"):
        text = _file_path(text)
    if not is_remote(text):
        return os.path.abspath(os.path.expanduser(text))
    scheme, _, rest = text.partition("://")
    if scheme in ("http", "https"):
        _refuse_password(urlsplit(text).netloc, "the URL")
        return text.rstrip("/")
    if scheme not in BUCKETS:
        raise OptionError(
            f"cannot open {text!r}: the scheme {scheme!r} is not supported; "
            "use a local path, or a URL with http(s), s3, gs or az"
        )
    _refuse_password(rest.partition("/")[0], "the URL")
    bucket, *parts = [part for part in rest.split("/") if part not in ("", ".")] or [""]
    if not bucket or rest.startswith("/") or ".." in parts:
        raise OptionError(
            f"cannot open {text!r}: give it like {scheme}://{BUCKETS[scheme].upper()}/path"
        )
    for name in ("profile", "region") if scheme != "s3" else ("account",):
        if getattr(parsed, name) is not None:
            raise OptionError(f"storage option {name!r} is not for {scheme}:// ({text!r})")
    return Location(f"{scheme}://{'/'.join([bucket, *parts])}", _completed(scheme, parsed))


def _file_path(url: str) -> str:
    """Return the path that a file URL names on this machine."""
    host, slash, path = url[len("file://") :].partition("/")
    if host.lower() not in ("", "localhost"):
        raise OptionError(
            f"cannot open {url!r}: it names a file on the host {host!r}; give the path that it has "
            f"on this machine, like file:///{path or 'path'}"
        )
    if os.name == "nt":
        from urllib.request import url2pathname

        return url2pathname(slash + path)  # without the slash before a drive letter
    return unquote(slash + path)


def _completed(scheme: str, options: StoreOptions) -> StoreOptions:
    """Add what this process' environment says: a worker must not reach another store."""
    if scheme != "s3":
        return options
    found = {
        "endpoint": _variable("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
        "region": _variable("AWS_REGION", "AWS_DEFAULT_REGION"),
    }
    return StoreOptions(
        endpoint=options.endpoint or (found["endpoint"] and parse_endpoint(found["endpoint"])),
        region=options.region or found["region"],
        anon=options.anon,
        profile=options.profile,
    )


def _variable(*variables: str) -> str | None:
    return next((os.environ[name] for name in variables if os.environ.get(name)), None)


def join(uri: str, *parts: str) -> str:
    """Return the location of a node below `uri`."""
    path = "/".join(part.strip("/") for part in parts if part.strip("/"))
    if not path:
        return uri
    if isinstance(uri, Location):
        return Location(f"{uri}/{path}", uri.options)
    return f"{uri}/{path}" if is_remote(uri) else os.path.normpath(os.path.join(uri, path))


def above(uri: str) -> str:
    """Return the location above `uri`."""
    found = uri.replace(os.sep, "/").rpartition("/")[0]
    return Location(found, uri.options) if isinstance(uri, Location) else found


def split_url(uri: str) -> tuple[str, str, str]:
    """Return scheme, bucket and key."""
    scheme, _, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    return scheme, bucket, key


def options_of(uri: str) -> StoreOptions:
    if isinstance(uri, Location):
        return uri.options
    return _completed(uri.partition("://")[0], StoreOptions())


def root(uri: str) -> str:
    """Return the location of the whole bucket that a location lies in."""
    scheme, bucket, _ = split_url(uri)
    return Location(f"{scheme}://{bucket}", options_of(uri))


def bucket_of(uri: str) -> str:
    """Return the bucket of an object as users write it, with the server where it is not usual."""
    scheme, bucket, _ = split_url(uri)
    endpoint = options_of(uri).endpoint
    return f"{BUCKETS[scheme]} {bucket!r}" + (f" at {endpoint}" if endpoint else "")


def same_store(one: str, other: str) -> bool:
    """Whether two locations are in the same bucket, or both are local."""
    if in_bucket(one) and in_bucket(other):
        return root(one) == root(other) and options_of(one).endpoint == options_of(other).endpoint
    return not is_remote(one) and not is_remote(other)


def resolved(uri: str) -> str:
    """Return a location with its links followed."""
    return uri if is_remote(uri) else os.path.realpath(uri)


def nearest(uri: str, steps: int) -> Iterator[str]:
    """Yield a location and so many of those above it, up to the server, bucket or disk."""
    yield uri
    for _ in range(steps):
        if len(uri.rstrip("/").split("/")) < (4 if is_remote(uri) else 2):
            return
        uri = above(uri) or os.sep
        yield uri


def escaped(url: str) -> str:
    """Return a URL as servers take it, whether or not it was escaped already."""
    return quote(url, safe=":/%?=&+@~")
