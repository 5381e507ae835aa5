"""What a pod needs to get to where its task's log lies. Pure; `agenttask.places` says where that is."""

from __future__ import annotations

from typing import Any, Final

from agenttask import contract

_VOLUME: Final = "agenttask-store"


def env(location: contract.Location) -> list[dict[str, Any]]:
    """Keys and certificates, by reference, so that the kubelet says which one is missing."""
    env = []
    if (secret := location.credentials_secret) is not None:
        redis = location.type == "redis"
        needed = contract.REDIS_SECRET_KEYS if redis else contract.S3_SECRET_KEYS
        optional = contract.REDIS_OPTIONAL_SECRET_KEYS if redis else contract.S3_OPTIONAL_SECRET_KEYS
        env += [_from("secretKeyRef", key, name=secret, key=key) for key in needed]
        env += [_from("secretKeyRef", key, name=secret, key=key, optional=True) for key in optional]
    if (ca := location.ca_config_map) is not None:
        env.append(_from("configMapKeyRef", contract.ENV_STORE_CA, name=ca.name, key=ca.key))
    return env


def volumes(location: contract.Location) -> list[dict[str, Any]]:
    """The volume of a filesystem store."""
    if location.claim_name is None:
        return []
    return [{"name": _VOLUME, "persistentVolumeClaim": {"claimName": location.claim_name}}]


def mounts(location: contract.Location) -> list[dict[str, Any]]:
    """Where it is mounted."""
    return [] if location.claim_name is None else [{"name": _VOLUME, "mountPath": contract.STORE_DIR}]


def words(location: contract.Location) -> str:
    """A place as people say it."""
    where = location.bucket or location.endpoint or location.claim_name or ""
    return f"{location.type} {where}".strip()


def _from(source: str, variable: str, *, name: str, key: str, optional: bool = False) -> dict[str, Any]:
    ref = {"name": name, "key": key} | ({"optional": True} if optional else {})
    return {"name": variable, "valueFrom": {source: ref}}
