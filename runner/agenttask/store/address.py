"""Pure: what people type for a store → its location.

s3://bucket/prefix                          with AWS_ENDPOINT_URL_S3, AWS_REGION and AWS's other variables
redis://host:6379/0/prefix                  rediss:// for TLS; REDIS_USERNAME, REDIS_PASSWORD
  ?aof=false&replicas=1&ttl=86400           what a write waits for, and how many seconds a finished log is kept
some/folder, file:///some/folder
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from agenttask.contract import Durability, Location
from agenttask.errors import Misconfigured

FORMS: Final = "s3://bucket/prefix, redis://host:6379/0/prefix, rediss://host:6379/0/prefix, or a folder"
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_IPV4: Final = re.compile(r"[0-9]{1,3}(\.[0-9]{1,3}){3}")
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


def location_of(address: str, *, environment: Mapping[str, str]) -> Location:
    """The location an address stands for. `Misconfigured` if it is none."""
    # A mistyped s3:/bucket must not become a folder; one that is really called so is ./s3:/bucket.
    if address and not _SCHEME.match(address):
        return Location(type="filesystem", path=str(Path(address).absolute()))
    try:
        parts = urlsplit(address)
    except ValueError as error:
        raise Misconfigured(f"{address} cannot be read ({error}); give {FORMS}") from error
    match parts.scheme:
        case "s3" if not (parts.query or parts.fragment):
            return _s3(address, parts, environment)
        case "redis" | "rediss" if not parts.fragment:
            return _redis(address, parts)
        case "file" if parts.path and not (parts.netloc or parts.query or parts.fragment):
            return Location(type="filesystem", path=unquote(parts.path))
    raise Misconfigured(f"{address or 'nothing'} is no store; give {FORMS}")


def _s3(address: str, parts: SplitResult, environment: Mapping[str, str]) -> Location:
    if not parts.netloc:
        raise Misconfigured(f"{address} names no bucket; give s3://bucket/prefix")
    if "@" in parts.netloc:
        raise Misconfigured("keep the keys out of the S3 address: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    if not _BUCKET.fullmatch(parts.netloc) or ".." in parts.netloc or _IPV4.fullmatch(parts.netloc):
        raise Misconfigured(
            f"{address}: {parts.netloc} is no bucket's name, which has 3 to 63 small letters, digits, hyphens and "
            "single dots, begins and ends with a letter or digit, and is no IP address"
        )
    return Location(
        type="s3",
        bucket=parts.netloc,
        prefix=parts.path.strip("/"),
        endpoint=environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL"),
        region=environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION"),
    )


def _redis(address: str, parts: SplitResult) -> Location:
    if "@" in parts.netloc:
        raise Misconfigured("keep the password out of the Redis URL: set REDIS_PASSWORD, and REDIS_USERNAME if any")
    database, _, prefix = parts.path.strip("/").partition("/")
    if not _reachable(parts) or not _is_number(database or "0"):
        raise Misconfigured(f"{address} names no server and database; give redis://host:6379/0/prefix")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if unknown := options.keys() - {"aof", "replicas", "ttl"}:
        raise Misconfigured(f"{address}: {', '.join(sorted(unknown))} is not known; there are aof, replicas and ttl")
    aof, replicas, ttl = options.get("aof", "true"), options.get("replicas", "0"), options.get("ttl")
    if aof not in ("true", "false") or not _is_number(replicas) or not _is_number("0" if ttl is None else ttl):
        raise Misconfigured(f"{address}: aof is true or false, replicas and ttl are numbers")
    return Location(
        type="redis",
        endpoint=f"{parts.scheme}://{parts.netloc}/{database or 0}",
        prefix=prefix.strip("/"),
        durability=Durability(aof=aof == "true", replicas=int(replicas)),
        ttl_seconds=None if ttl is None else int(ttl),
    )


def _reachable(parts: SplitResult) -> bool:
    try:
        return bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, or beyond 65535
        return False


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()
