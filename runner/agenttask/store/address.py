"""Pure: what people type for a store → its location.

s3://bucket/prefix                          with AWS_ENDPOINT_URL_S3, AWS_REGION and AWS's other variables
redis://host:6379/0/prefix                  rediss:// for TLS; REDIS_USERNAME, REDIS_PASSWORD
  ?aof=false&replicas=1&ttl=86400           what a write waits for, and how many seconds a finished log is kept
some/folder, file:///some/folder
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from agenttask.contract import Durability, Location
from agenttask.errors import Misconfigured

FORMS: Final = "s3://bucket/prefix, redis://host:6379/0/prefix, rediss://host:6379/0/prefix, or a folder"


def location_of(address: str, *, environment: Mapping[str, str]) -> Location:
    """The location an address stands for. `Misconfigured` if it is none."""
    if "://" not in address:
        return Location(type="filesystem", path=str(Path(address).absolute()))
    parts = urlsplit(address)
    match parts.scheme:
        case "s3":
            return _s3(address, parts, environment)
        case "redis" | "rediss":
            return _redis(address, parts)
        case "file" if parts.path and not parts.netloc:
            return Location(type="filesystem", path=unquote(parts.path))
    raise Misconfigured(f"{address} is no store; give {FORMS}")


def _s3(address: str, parts: SplitResult, environment: Mapping[str, str]) -> Location:
    if not parts.netloc:
        raise Misconfigured(f"{address} names no bucket; give s3://bucket/prefix")
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
    if not parts.hostname or not (database or "0").isdigit():
        raise Misconfigured(f"{address} names no server and database; give redis://host:6379/0/prefix")
    options = dict(parse_qsl(parts.query))
    if unknown := options.keys() - {"aof", "replicas", "ttl"}:
        raise Misconfigured(f"{address}: {', '.join(sorted(unknown))} is not known; there are aof, replicas and ttl")
    try:
        durability = Durability(
            aof={"true": True, "false": False}[options.get("aof", "true")], replicas=int(options.get("replicas", "0"))
        )
        ttl_seconds = int(options["ttl"]) if "ttl" in options else None
    except (KeyError, ValueError):
        raise Misconfigured(f"{address}: aof is true or false, replicas and ttl are numbers") from None
    return Location(
        type="redis",
        endpoint=f"{parts.scheme}://{parts.netloc}/{database or 0}",
        prefix=prefix.strip("/"),
        durability=durability,
        ttl_seconds=ttl_seconds,
    )
