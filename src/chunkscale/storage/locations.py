"""Locations: local paths and URLs as values, with what it takes to reach them."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from chunkscale.errors import OptionError


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreOptions:
    """How to reach an object store, without credentials, which are found elsewhere.

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
    query : str
        What stands behind the ``?`` of a web address. It may be a signature or a token, so it
        goes into requests, and into no text; no user gives it as an option.
    """

    endpoint: str | None = None
    region: str | None = None
    anon: bool = False
    profile: str | None = None
    account: str | None = None
    query: str = field(default="", repr=False)


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
        raise OptionError("storage_options must be a mapping, like {'endpoint': 'https://host'}")
    known = [f.name for f in fields(StoreOptions) if f.repr]
    parsed: dict[str, Any] = {}
    for key, value in (given or {}).items():
        name = _SYNONYMS.get(key, key)
        if name not in known:
            # The value may be a secret, so it is not repeated.
            hint = (
                "; credentials are taken from the environment (AWS_ACCESS_KEY_ID and the like) "
                "and from profile files"
                if _SECRETS.search(str(key))
                else ""
            )
            raise OptionError(
                f"storage option {key!r} is unknown; known are {', '.join(known)}{hint}"
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
    parts = split_checked(url, "an endpoint")
    if parts.scheme not in ("http", "https") or not parts.netloc or url != plain(url):
        raise OptionError(
            f"endpoint {plain(url)!r} is not an http(s) URL without a query; give it like "
            "https://host:9000"
        )
    return url.rstrip("/")


def _parts(url: str) -> SplitResult | None:
    """Return the parts of a URL; None, without the error that would repeat it, if it is none."""
    with contextlib.suppress(ValueError):
        parts = urlsplit(url)
        _ = parts.port
        return parts
    return None


def split_checked(url: str, what: str) -> SplitResult:
    """Return the parts of a URL; refuse one with a password, or whose host is none."""
    parts = _parts(url)
    if parts is None:
        raise OptionError(
            f"{what} has an invalid host or port; give it like https://host:9000/path"
        )
    # A URL gets into metadata, logs and messages.
    if "@" in (place := unquote(parts.netloc)):
        raise OptionError(
            f"{what} holds a user name or a password ({place.rpartition('@')[2]!r}); remove it: "
            "URLs are written into metadata and logs"
        )
    return parts


def plain(url: str) -> str:
    """Return what may be shown of a URL: no user, password, query or fragment.

    Examples
    --------
    >>> plain("https://me:secret@host/img.zarr?sig=secret#secret")
    'https://host/img.zarr'
    """
    scheme, mark, rest = re.split("[?#]", url, maxsplit=1)[0].partition("://")
    host, slash, path = rest.partition("/")
    shown = f"{scheme}{mark}{host.rpartition('@')[2]}{slash}{path}"
    return re.sub(r"://[^/\s]*@", "://", shown)  # some write a URL in a URL


class Location(str):
    """A URL that remembers how it is reached, wherever it is sent to.

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


def scheme_of(uri: str) -> str:
    """Return what stands before ``://``; nothing for a local path."""
    return uri.partition("://")[0] if "://" in uri else ""


def join(uri: str, *parts: str) -> str:
    """Return the location of a node below `uri`."""
    path = "/".join(part.strip("/") for part in parts if part.strip("/"))
    if not path:
        return uri
    if isinstance(uri, Location):
        return Location(f"{uri}/{path}", uri.options)
    return f"{uri}/{path}" if scheme_of(uri) else os.path.normpath(os.path.join(uri, path))


def query_of(uri: str) -> str:
    """Return the query of a web address, which may be a secret."""
    return uri.options.query if isinstance(uri, Location) else ""


def above(uri: str) -> str:
    """Return the location above `uri`."""
    found = uri.replace(os.sep, "/").rpartition("/")[0]
    return Location(found, uri.options) if isinstance(uri, Location) else found


def split_url(uri: str) -> tuple[str, str, str]:
    """Return scheme, bucket and key."""
    scheme, _, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    return scheme, bucket, key


def nearest(uri: str, steps: int) -> Iterator[str]:
    """Yield a location and so many of those above it, up to the server, bucket or disk."""
    yield uri
    for _ in range(steps):
        if len(uri.rstrip("/").split("/")) < (4 if scheme_of(uri) else 2):
            return
        uri = above(uri) or os.sep
        yield uri
