"""Credentials of object stores, found as botocore finds them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from chunkscale.errors import OptionError
from chunkscale.storage.locations import StoreOptions, parse_endpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsAccess:
    """What botocore has found out.

    ``credentials`` are None for anonymous access; ``login`` is what tensorstore
    calls their origin, None if it knows no name for it.
    """

    endpoint: str | None
    region: str
    credentials: Any
    login: dict[str, str] | None


def aws_access(options: StoreOptions) -> AwsAccess:
    anonymous = AwsAccess(
        endpoint=options.endpoint,
        region=options.region or "us-east-1",
        credentials=None,
        login={"type": "anonymous"},
    )
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
        raise OptionError(f"AWS credentials cannot be loaded: {error}") from error
    if credentials is None and not options.anon:
        raise OptionError(
            "no AWS credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
            "AWS_PROFILE or the storage option profile, or the storage option anon for a public "
            "bucket"
        )
    configured = scoped.get("endpoint_url")
    return AwsAccess(
        endpoint=options.endpoint or (parse_endpoint(configured) if configured else None),
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


def frozen_credentials(credentials: Any) -> dict[str, Any]:
    """Return credentials for the next minutes, as obstore asks for them."""
    found = credentials.get_frozen_credentials()
    return {
        "access_key_id": found.access_key,
        "secret_access_key": found.secret_key,
        "token": found.token,
        "expires_at": datetime.now(UTC) + timedelta(minutes=5),
    }
