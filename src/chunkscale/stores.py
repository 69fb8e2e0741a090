"""Where things are stored, and how they are reached: local paths, URLs, object stores.

Everything here is about named objects of bytes; what is in them is the
business of `chunkscale.storage`. The only module that imports obstore and botocore.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import itertools
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from chunkscale.errors import AccessDeniedError, OptionError, SourceNotFoundError

__all__ = [
    "Location",
    "StoreError",
    "StoreOptions",
    "above",
    "bucket_of",
    "clear_errors",
    "delete",
    "delete_below",
    "denial",
    "escaped",
    "exists",
    "first_names",
    "get",
    "in_bucket",
    "is_remote",
    "join",
    "kvstore",
    "linked_folders",
    "names",
    "nearest",
    "normalise",
    "objects",
    "open_bucket",
    "parse_options",
    "prune",
    "put",
    "resolved",
    "root",
    "same_store",
    "sizes",
]

#: What a bucket is called by scheme.
_BUCKETS = {"s3": "bucket", "gs": "bucket", "az": "container"}
#: A busy server is asked again for some seconds, and a request is given up after some minutes.
RETRIES = 6
FIRST_WAIT, LONGEST_WAIT = timedelta(milliseconds=250), timedelta(seconds=4)
REQUEST_SECONDS = 120
#: A server that sends nothing for so long will not send anything.
SILENT_SECONDS = 60
#: What a store says of a bucket that is not there.
_NO_BUCKET = ("NoSuchBucket", "ContainerNotFound")
#: Variables of the environment on which an open bucket depends.
_VARIABLES = ("AWS_", "GOOGLE_", "AZURE_")
#: Requests at once where many small ones are made.
_REQUESTS = 16
#: So many names tell what lies in a folder; S3 lists as many at once.
_FIRST = 1000
#: Objects in one request to delete, as S3 takes them.
_MOST_AT_ONCE = 1000


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
        parsed["endpoint"] = _endpoint(parsed["endpoint"])
    return StoreOptions(**parsed)


def _flag(key: str, value: object) -> bool:
    flags = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    try:
        return flags[str(value).lower()]
    except KeyError:
        raise OptionError(f"storage option {key!r} must be true or false, not {value!r}") from None


def _endpoint(url: str) -> str:
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
    return urlsplit(uri).scheme in _BUCKETS if is_remote(uri) else False


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
    if scheme not in _BUCKETS:
        raise OptionError(
            f"cannot open {text!r}: the scheme {scheme!r} is not supported; "
            "use a local path, or a URL with http(s), s3, gs or az"
        )
    _refuse_password(rest.partition("/")[0], "the URL")
    bucket, *parts = [part for part in rest.split("/") if part not in ("", ".")] or [""]
    if not bucket or rest.startswith("/") or ".." in parts:
        raise OptionError(
            f"cannot open {text!r}: give it like {scheme}://{_BUCKETS[scheme].upper()}/path"
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
        endpoint=options.endpoint or (found["endpoint"] and _endpoint(found["endpoint"])),
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


def _split(uri: str) -> tuple[str, str, str]:
    """Return scheme, bucket and key."""
    scheme, _, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    return scheme, bucket, key


def _options(uri: str) -> StoreOptions:
    if isinstance(uri, Location):
        return uri.options
    return _completed(uri.partition("://")[0], StoreOptions())


def root(uri: str) -> str:
    """Return the location of the whole bucket that a location lies in."""
    scheme, bucket, _ = _split(uri)
    return Location(f"{scheme}://{bucket}", _options(uri))


def bucket_of(uri: str) -> str:
    """Return the bucket of an object as users write it, with the server where it is not usual."""
    scheme, bucket, _ = _split(uri)
    endpoint = _options(uri).endpoint
    return f"{_BUCKETS[scheme]} {bucket!r}" + (f" at {endpoint}" if endpoint else "")


def open_bucket(uri: str) -> tuple[Any, str]:
    """Return the obstore store of a location's bucket, and its key there."""
    scheme, bucket, key = _split(uri)
    environment = tuple(sorted(v for v in os.environ.items() if v[0].startswith(_VARIABLES)))
    return _opened_bucket(scheme, bucket, _options(uri), environment), key


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
        aws = _aws(options)
        endpoint, config["region"] = aws.endpoint, aws.region
        if aws.credentials is not None:
            config["credential_provider"] = functools.partial(_frozen, aws.credentials)
    elif scheme == "az" and options.account:
        config["account_name"] = options.account
    if endpoint:
        config["base_url" if scheme == "gs" else "endpoint"] = endpoint
    return kinds[scheme](
        bucket,
        client_options={
            "timeout": timedelta(seconds=REQUEST_SECONDS),
            "allow_http": (endpoint or "").startswith("http://"),
        },
        retry_config={
            "max_retries": RETRIES,
            "retry_timeout": timedelta(seconds=REQUEST_SECONDS),
            "backoff": {"init_backoff": FIRST_WAIT, "max_backoff": LONGEST_WAIT, "base": 2},
        },
        **config,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Aws:
    """What botocore has found out.

    ``credentials`` are None for anonymous access; ``login`` is what tensorstore
    calls their origin, None if it knows no name for it.
    """

    endpoint: str | None
    region: str
    credentials: Any
    login: dict[str, str] | None


def _aws(options: StoreOptions) -> _Aws:
    anonymous = _Aws(
        endpoint=options.endpoint, region=options.region or "us-east-1", credentials=None,
        login={"type": "anonymous"},
    )  # fmt: skip
    if options.anon and options.profile is None:
        return anonymous
    try:
        import botocore.session
        from botocore.exceptions import BotoCoreError
    except ImportError as error:
        raise OptionError(
            "AWS credentials need the package botocore; install the extra chunkscale[cloud], or "
            "pass the storage option anon for a public bucket"
        ) from error
    session = botocore.session.Session(profile=options.profile)
    try:
        scoped = session.get_scoped_config()
        credentials = None if options.anon else session.get_credentials()
    except BotoCoreError as error:
        raise OptionError(f"AWS credentials cannot be had: {error}") from error
    if credentials is None and not options.anon:
        raise OptionError(
            "no AWS credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
            "AWS_PROFILE or the storage option profile, or the storage option anon for a public "
            "bucket"
        )
    configured = scoped.get("endpoint_url")
    return _Aws(
        endpoint=options.endpoint or (_endpoint(configured) if configured else None),
        region=options.region or scoped.get("region") or "us-east-1",
        credentials=credentials,
        login=anonymous.login if credentials is None else _login(session, credentials.method),
    )


def _login(session: Any, method: str) -> dict[str, str] | None:
    if method == "env":
        return {"type": "environment"}
    if method not in ("shared-credentials-file", "config-file"):
        return None
    files = {}
    for name in ("credentials_file", "config_file"):
        path = os.path.expanduser(session.get_config_variable(name) or "")
        # It complains of files that are not there, on standard error.
        files[name] = path if os.path.isfile(path) else os.devnull
    return {"type": "profile", "profile": session.profile or "default", **files}


def _frozen(credentials: Any) -> dict[str, Any]:
    """Return credentials for the next minutes, as obstore asks for them."""
    found = credentials.get_frozen_credentials()
    return {
        "access_key_id": found.access_key,
        "secret_access_key": found.secret_key,
        "token": found.token,
        "expires_at": datetime.now(UTC) + timedelta(minutes=5),
    }


def kvstore(uri: str) -> dict[str, Any] | None:
    """Return what tensorstore calls a location; None if it does not get there as we do.

    Its driver for Google's store takes neither an endpoint nor "anonymous",
    and there is none for Azure's. Credentials that neither the environment nor
    a profile holds are left to botocore.
    """
    if not is_remote(uri):
        return {"driver": "file", "path": uri.rstrip("/") + "/"}
    # Otherwise it waits for ever for a server that has gone silent; there is no other way to say
    # so, and it looks when it is first used.
    os.environ.setdefault("TENSORSTORE_CURL_LOW_SPEED_TIME_SECONDS", str(SILENT_SECONDS))
    os.environ.setdefault("TENSORSTORE_CURL_LOW_SPEED_LIMIT_BYTES", "1")
    if not in_bucket(uri):
        return {"driver": "http", "base_url": escaped(uri) + "/"}
    scheme, bucket, key = _split(uri)
    if scheme != "s3":
        return None
    aws = _aws(_options(uri))
    if aws.login is None:
        return None
    spec: dict[str, Any] = {
        "driver": "s3", "bucket": bucket, "path": f"{key}/" if key else "",
        "aws_region": aws.region, "context": {"aws_credentials": aws.login},
    }  # fmt: skip
    return {**spec, "endpoint": aws.endpoint} if aws.endpoint else spec


class StoreError(OSError):
    """An object store did not do what it was asked for.

    Attributes
    ----------
    transient : bool
        Whether it may do it another time.
    """

    def __init__(self, message: str, transient: bool) -> None:
        super().__init__(message, transient)
        self.transient = transient

    def __str__(self) -> str:
        return str(self.args[0])


@contextlib.contextmanager
def clear_errors(uri: str) -> Iterator[None]:
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
            f"the {bucket_of(uri)} does not exist ({uri!r}); check its name and the endpoint"
        )
    if missing:
        raise FileNotFoundError(f"{uri!r} does not exist")
    if denied or status.startswith(("401", "403")):
        raise denial(uri, reason)
    if status.startswith("3") or "redirect" in text:
        reason = f"{reason or 'it redirects'}: the bucket is in another region; set the region"
    trouble = reason or next(iter(re.findall(r"HTTP error: (.*)", text)), kind)
    # A refusal that is none of the above stays one.
    refused = status.startswith(("3", "4")) and not status.startswith(("408", "409", "429"))
    raise StoreError(f"{uri!r} cannot be reached: {trouble}", not refused)


def denial(uri: str, reason: str = "") -> AccessDeniedError:
    """Return the error that says what to set where access was denied."""
    remedies = {
        "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the storage option profile; "
        "for a public bucket the storage option anon",
        "gs": "set GOOGLE_APPLICATION_CREDENTIALS; for a public bucket the storage option anon",
        "az": "set AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN; for a public container "
        "the storage option anon",
    }
    said = f" ({reason})" if reason else ""
    return AccessDeniedError(
        f"access to {uri!r} was denied{said}; {remedies[uri.partition('://')[0]]}"
    )


def same_store(one: str, other: str) -> bool:
    """Whether two locations are in the same bucket, or both are local."""
    if in_bucket(one) and in_bucket(other):
        return root(one) == root(other) and _options(one).endpoint == _options(other).endpoint
    return not is_remote(one) and not is_remote(other)


def resolved(uri: str) -> str:
    """Return a location with its links followed."""
    return uri if is_remote(uri) else os.path.realpath(uri)


def exists(uri: str) -> bool:
    """Whether anything is stored at or below a location."""
    if not in_bucket(uri):
        return os.path.lexists(uri)
    return any(True for _ in objects(uri)) or _object_size(uri) is not None


def names(uri: str) -> list[str]:
    """Return the names directly below a location."""
    if not in_bucket(uri):
        return sorted(os.listdir(uri)) if os.path.isdir(uri) else []
    import obstore

    with clear_errors(uri):
        bucket, key = open_bucket(uri)
        found = obstore.list_with_delimiter(bucket, key or None)
    paths = [*found["common_prefixes"], *(entry["path"] for entry in found["objects"])]
    return sorted(path.rstrip("/").rpartition("/")[2] for path in paths)


def first_names(uri: str) -> set[str]:
    """Return some of the names directly below a location; those of folders end with a slash.

    Empty folders are left out. It takes as long for a million names as for a thousand: whichever
    the store lists first. Web servers list nothing, and not every bucket may be listed.
    """
    if is_remote(uri) and not in_bucket(uri):
        return set()
    if not in_bucket(uri):
        with contextlib.suppress(OSError), os.scandir(uri) as entries:
            return set(filter(None, map(_entry_name, itertools.islice(entries, _FIRST))))
        return set()
    import obstore

    try:
        with clear_errors(uri):
            bucket, key = open_bucket(uri)
            batch = next(iter(obstore.list(bucket, key or None, chunk_size=_FIRST)), [])
    except OSError:
        return set()
    paths = (str(entry["path"])[len(key) :].lstrip("/") for entry in batch)
    return {first + slash for first, slash, _ in (path.partition("/") for path in paths)}


def _entry_name(entry: os.DirEntry[str]) -> str | None:
    if not entry.is_dir():
        return entry.name
    with contextlib.suppress(OSError), os.scandir(entry.path) as inner:
        return None if next(inner, None) is None else entry.name + "/"
    return entry.name + "/"


def objects(uri: str) -> Iterator[tuple[str, int]]:
    """Yield path (relative, with slashes) and size of every object below a location."""
    if not in_bucket(uri):
        yield from _files(uri, "")
        return
    import obstore

    with clear_errors(uri):
        bucket, key = open_bucket(uri)
        for batch in obstore.list(bucket, key or None):
            for entry in batch:
                yield entry["path"][len(key) :].lstrip("/"), entry["size"]


def _files(folder: str, prefix: str) -> Iterator[tuple[str, int]]:
    # Several times as fast as `os.walk`, which there are a million files for.
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            path = prefix + entry.name
            if entry.is_dir(follow_symlinks=False):
                yield from _files(entry.path, path + "/")
                continue
            with contextlib.suppress(FileNotFoundError):  # it went while this one looked
                yield path, entry.stat().st_size


def linked_folders(uri: str, paths: Iterable[str]) -> Iterator[str]:
    """Yield the links on the way from a local folder to these paths, and those to folders below."""
    for path in paths:
        steps = list(itertools.accumulate(path.split("/"), os.path.join, initial=uri))[1:]
        link = next(filter(os.path.islink, steps), None)
        if link is None:
            yield from _linked(steps[-1])
        else:
            yield link


def _linked(folder: str) -> Iterator[str]:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                if entry.is_symlink():
                    yield entry.path
                else:
                    yield from _linked(entry.path)


def get(uri: str) -> bytes | None:
    """Return what is stored at a location; None if nothing is."""
    try:
        if not is_remote(uri):
            return Path(uri).read_bytes()
        if not in_bucket(uri):
            return _downloaded(uri)
        import obstore

        with clear_errors(uri):
            bucket, key = open_bucket(uri)
            return bytes(obstore.get(bucket, key).bytes())
    except SourceNotFoundError:
        raise  # the bucket, or a refusal
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return None


def _downloaded(url: str) -> bytes:
    from fsspec.core import url_to_fs

    system, path = url_to_fs(escaped(url))
    return bytes(system.cat_file(path))


def put(uri: str, content: bytes, *, new: bool = False) -> None:
    """Store an object in one piece; if it is to be `new`, a local one that is there stays."""
    if in_bucket(uri):
        import obstore

        with clear_errors(uri):
            bucket, key = open_bucket(uri)
            obstore.put(bucket, key, content)
        return
    path = Path(uri)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    try:
        draft.write_bytes(content)
        if new:
            _link(draft, path)
        else:
            draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _link(draft: Path, path: Path) -> None:
    try:
        os.link(draft, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        with path.open("xb") as file:
            file.write(draft.read_bytes())


def withdraw(uri: str, content: bytes) -> None:
    """Delete a local object if it is what was seen there; of several who try, one does.

    Raises
    ------
    FileExistsError
        If it is another one by now. It stays.
    """
    path = Path(uri)
    aside = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    try:
        path.rename(aside)
    except FileNotFoundError:
        return
    if aside.read_bytes() != content:
        aside.rename(path)
        raise FileExistsError(uri)
    aside.unlink()


def sizes(uris: Iterable[str]) -> list[int]:
    """Return the sizes of objects; 0 for those that are not there."""
    listed = list(uris)
    if not listed or not in_bucket(listed[0]):
        return [_file_size(uri) for uri in listed]
    with ThreadPoolExecutor(min(_REQUESTS, len(listed))) as pool:
        return [size or 0 for size in pool.map(_object_size, listed)]


def _file_size(path: str) -> int:
    try:
        return os.path.getsize(path)
    except FileNotFoundError:
        return 0


def _object_size(uri: str) -> int | None:
    import obstore

    if not _split(uri)[2]:
        return None  # the bucket itself
    try:
        with clear_errors(uri):
            bucket, key = open_bucket(uri)
            return int(obstore.head(bucket, key)["size"])
    except SourceNotFoundError:
        raise
    except FileNotFoundError:
        return None


def delete(uris: Iterable[str]) -> None:
    """Delete objects of one place, those that are there."""
    left = iter(uris)
    while part := list(itertools.islice(left, _MOST_AT_ONCE)):
        if in_bucket(part[0]):
            _delete_objects(part)
        else:
            for uri in part:
                Path(uri).unlink(missing_ok=True)


def _delete_objects(uris: Sequence[str]) -> None:
    import obstore

    bucket, _ = open_bucket(uris[0])
    try:
        with clear_errors(uris[0]):
            obstore.delete(bucket, [_split(uri)[2] for uri in uris])
    except SourceNotFoundError:
        raise
    except FileNotFoundError:  # some stores mind; each of the others must go all the same
        for uri in uris if len(uris) > 1 else ():
            _delete_objects([uri])


def delete_below(uri: str) -> None:
    """Delete everything at and below a location."""
    if in_bucket(uri):
        delete(join(uri, path) for path, _ in objects(uri))
    elif os.path.isdir(uri) and not os.path.islink(uri):
        _delete_folder(uri)
    elif os.path.lexists(uri):
        os.unlink(uri)


def _delete_folder(path: str) -> None:
    for patience in reversed(range(50)):
        try:
            shutil.rmtree(path)
        except OSError as error:
            # A run that has lost the output finishes its regions, or another one deletes, too.
            if error.errno not in (errno.ENOTEMPTY, errno.ENOENT) or not patience:
                raise
            if not os.path.isdir(path):
                return
            time.sleep(0.1)
        else:
            return


def prune(uri: str) -> None:
    """Remove a folder that is empty; object stores have none."""
    if not in_bucket(uri):
        with contextlib.suppress(OSError):  # it is not, or not there
            os.rmdir(uri)
