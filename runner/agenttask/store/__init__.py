"""Object stores: S3, Redis, a folder, and memory for tests. `open_store` picks the one a location names.

The libraries a store needs are imported when that store is opened, so that importing this package costs nothing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from agenttask.contract import ENV_STORE_CA, STORE_DIR, Durability, Location
from agenttask.errors import Misconfigured
from agenttask.store.base import Entry, Source, Store
from agenttask.store.readback import ReadBackStore

__all__ = ["Entry", "Source", "Store", "open_store"]


def open_store(
    location: Location,
    *,
    verify: Literal["Checksum", "ReadBack"] = "Checksum",
    environment: Mapping[str, str] = os.environ,
) -> Store:
    """The store of a location, with the secrets and certificates of the environment. Nothing is asked of it yet.

    Raises `Misconfigured` if the location names no place.
    """
    store = _open(location, environment=environment)
    return ReadBackStore(store) if verify == "ReadBack" else store


def _open(location: Location, *, environment: Mapping[str, str]) -> Store:
    match location.type:
        case "s3":
            return _open_s3(location, environment=environment)
        case "redis":
            return _open_redis(location, environment=environment)
        case "filesystem":
            return _open_filesystem(location)


def _open_s3(location: Location, *, environment: Mapping[str, str]) -> Store:
    if not location.bucket:
        raise Misconfigured("the location names no bucket")
    from agenttask.store.s3 import Credentials, Encryption, S3Store, Server  # noqa: PLC0415 - see the docstring

    encryption = location.encryption
    credentials = None
    if key := environment.get("AWS_ACCESS_KEY_ID"):  # what the AWS chain would find in this process's environment
        credentials = Credentials(
            access_key_id=key,
            secret_access_key=environment.get("AWS_SECRET_ACCESS_KEY"),
            session_token=environment.get("AWS_SESSION_TOKEN"),
        )
    server = Server(
        endpoint=location.endpoint,
        region=location.region,
        addressing=location.addressing,
        ca=environment.get(ENV_STORE_CA),
        encryption=None if encryption is None else Encryption(type=encryption.type, kms_key_id=encryption.kms_key_id),
        credentials=credentials,
    )
    return S3Store(bucket=location.bucket, server=server)


def _open_redis(location: Location, *, environment: Mapping[str, str]) -> Store:
    if not location.endpoint:
        raise Misconfigured("the location names no Redis URL")
    from agenttask.store.redis import RedisStore, Server  # noqa: PLC0415 - see the docstring

    durability = location.durability or Durability()
    server = Server(
        url=location.endpoint,
        username=environment.get("REDIS_USERNAME"),
        password=environment.get("REDIS_PASSWORD"),
        ca=environment.get(ENV_STORE_CA),
        aof=durability.aof,
        replicas=durability.replicas,
    )
    if location.ttl_seconds is None:
        return RedisStore(server=server)
    return RedisStore(server=server, ttl_seconds=location.ttl_seconds)


def _open_filesystem(location: Location) -> Store:
    if location.path is None and location.claim_name is None:
        raise Misconfigured("the location names no folder")
    from agenttask.store.filesystem import FilesystemStore  # noqa: PLC0415 - see the docstring

    if location.claim_name is None:
        return FilesystemStore(root=location.path or "")
    return FilesystemStore(root=Path(STORE_DIR) / (location.path or ""))
