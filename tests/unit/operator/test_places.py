"""Where a task's log lies and what its pod needs to get there."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from agenttask import contract
from agenttask import places as everybodys
from agenttask_operator import places

S3 = {
    "bucket": "mine",
    "prefix": "prod",
    "endpoint": "https://s3.example",
    "region": "eu",
    "addressing": "Virtual",
    "encryption": {"type": "SSE-KMS", "kmsKeyID": "key-1"},
    "caConfigMapRef": {"name": "cas"},
    "credentialsSecretRef": {"name": "s3-keys"},
}
REDIS = {
    "url": "rediss://redis.example:6379/0",
    "prefix": "prod",
    "ttlSeconds": 60,
    "durability": {"aof": False, "replicas": 1},
    "caConfigMapRef": {"name": "cas", "key": "root.pem"},
    "credentialsSecretRef": {"name": "redis-keys"},
}
FILESYSTEM = {"claimName": "checkpoints", "path": "prod"}


def checkpoint(**fields: Any) -> contract.Checkpoint:
    return msgspec.convert(fields, contract.Checkpoint)


def resolve(own: contract.Checkpoint, recorded: contract.Location | None = None) -> contract.Location | None:
    return everybodys.resolve(own=own, default=checkpoint(s3={"bucket": "charts"}), recorded=recorded)


LOCATIONS: dict[str, tuple[dict[str, Any], contract.Location]] = {
    "s3": (
        {"s3": S3},
        contract.Location(
            type="s3",
            bucket="mine",
            prefix="prod",
            endpoint="https://s3.example",
            region="eu",
            addressing="Virtual",
            encryption=contract.Encryption(type="SSE-KMS", kms_key_id="key-1"),
            ca_config_map=contract.ConfigMapKeyRef(name="cas", key="ca.crt"),
            credentials_secret="s3-keys",
        ),
    ),
    "redis": (
        {"redis": REDIS},
        contract.Location(
            type="redis",
            prefix="prod",
            endpoint="rediss://redis.example:6379/0",
            ttl_seconds=60,
            durability=contract.Durability(aof=False, replicas=1),
            ca_config_map=contract.ConfigMapKeyRef(name="cas", key="root.pem"),
            credentials_secret="redis-keys",
        ),
    ),
    "filesystem": (
        {"filesystem": FILESYSTEM},
        contract.Location(type="filesystem", claim_name="checkpoints", path="prod"),
    ),
    "the chart's": ({}, contract.Location(type="s3", bucket="charts")),
}


@pytest.mark.parametrize(("own", "want"), LOCATIONS.values(), ids=LOCATIONS.keys())
def test_a_place_is_taken_whole(own: dict[str, Any], want: contract.Location) -> None:
    assert resolve(checkpoint(**own)) == want


def test_there_may_be_no_place() -> None:
    assert everybodys.resolve(own=checkpoint(), default=None, recorded=None) is None


def test_a_recorded_place_stays_and_what_opens_it_follows_the_task() -> None:
    recorded = resolve(checkpoint(s3=S3))
    assert recorded is not None
    assert resolve(checkpoint(), recorded) == recorded, "without a block of its own it needs what was recorded"
    assert resolve(checkpoint(redis=REDIS), recorded) == recorded
    edited = S3 | {"bucket": "others", "endpoint": "https://others", "addressing": "Path", "encryption": None}
    edited |= {"caConfigMapRef": {"name": "new"}, "credentialsSecretRef": {"name": "rotated"}}
    assert resolve(checkpoint(s3=edited), recorded) == msgspec.structs.replace(
        recorded,
        addressing="Path",
        encryption=None,
        ca_config_map=contract.ConfigMapKeyRef(name="new"),
        credentials_secret="rotated",
    )


def secret(name: str, key: str, **more: Any) -> dict[str, Any]:
    return {"name": key, "valueFrom": {"secretKeyRef": {"name": name, "key": key, **more}}}


def certificates(key: str) -> dict[str, Any]:
    return {"name": "AGENTTASK_STORE_CA", "valueFrom": {"configMapKeyRef": {"name": "cas", "key": key}}}


ENV: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {
    "s3": (
        {"s3": S3},
        [
            secret("s3-keys", "AWS_ACCESS_KEY_ID"),
            secret("s3-keys", "AWS_SECRET_ACCESS_KEY"),
            secret("s3-keys", "AWS_SESSION_TOKEN", optional=True),
            certificates("ca.crt"),
        ],
    ),
    "redis": (
        {"redis": REDIS},
        [
            secret("redis-keys", "REDIS_PASSWORD"),
            secret("redis-keys", "REDIS_USERNAME", optional=True),
            certificates("root.pem"),
        ],
    ),
    "a redis without login": ({"redis": {"url": "redis://r"}}, []),
    "filesystem": ({"filesystem": FILESYSTEM}, []),
}


@pytest.mark.parametrize(("own", "want"), ENV.values(), ids=ENV.keys())
def test_keys_and_certificates_come_by_reference(own: dict[str, Any], want: list[dict[str, Any]]) -> None:
    location = resolve(checkpoint(**own))
    assert location is not None
    assert places.env(location) == want


def test_the_volume_of_a_filesystem_store_is_mounted() -> None:
    location = resolve(checkpoint(filesystem=FILESYSTEM))
    assert location is not None
    claim = {"claimName": "checkpoints"}
    assert places.volumes(location) == [{"name": "agenttask-store", "persistentVolumeClaim": claim}]
    assert places.mounts(location) == [{"name": "agenttask-store", "mountPath": "/var/lib/agenttask/store"}]
