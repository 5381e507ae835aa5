"""Pure: what Redis and its client can raise → what it means to us, and what to do about it."""

from __future__ import annotations

from typing import Final

from redis import exceptions as redis

from agenttask.errors import Denied, Full, Misconfigured, StoreError, Unavailable

_BY_TYPE: Final[tuple[tuple[type[Exception], type[StoreError], str], ...]] = (
    (redis.AuthenticationError, Denied, "check REDIS_USERNAME and REDIS_PASSWORD"),
    (redis.AuthorizationError, Denied, "check REDIS_USERNAME and REDIS_PASSWORD"),
    (redis.NoPermissionError, Denied, "let this user run the commands on the keys below the prefix"),
    (redis.OutOfMemoryError, Full, "raise maxmemory, or remove what is not needed"),
    (redis.ReadOnlyError, Unavailable, "the server is a replica now; writes go to its primary"),
    (redis.ClusterDownError, Unavailable, ""),
    (redis.TryAgainError, Unavailable, ""),
    (redis.AskError, Misconfigured, "this is a Redis Cluster; a checkpoint log needs a single primary"),
    (redis.ConnectionError, Unavailable, ""),  # among them a server that is still loading
    (redis.TimeoutError, Unavailable, ""),
    (redis.InvalidResponse, Unavailable, ""),
    (OSError, Unavailable, ""),
)
"""First match wins: several are kinds of `ConnectionError`, and a move is a kind of `AskError`."""

_BY_WORD: Final[dict[str, tuple[type[StoreError], str]]] = {
    "NOAUTH": (Denied, "give REDIS_PASSWORD"),
    "WRONGPASS": (Denied, "check REDIS_USERNAME and REDIS_PASSWORD"),
    "NOPERM": (Denied, "let this user run the commands on the keys below the prefix"),
    "ACL": (Denied, "let this user run the commands on the keys below the prefix"),  # the word inside a script
    "OOM": (Full, "raise maxmemory, or remove what is not needed"),
    "MISCONF": (Full, "the server cannot write its disk; make room on it"),
    "NOREPLICAS": (Unavailable, ""),
    "LOADING": (Unavailable, ""),
    "BUSY": (Unavailable, ""),
    "MASTERDOWN": (Unavailable, ""),
    "UNBLOCKED": (Unavailable, ""),
    "READONLY": (Unavailable, "the server is a replica now; writes go to its primary"),
    "WRONGTYPE": (Misconfigured, "the key is used by something else; choose another prefix"),
}


def translated(error: Exception) -> StoreError:
    """The store error this one stands for."""
    said = str(error)
    if "CERTIFICATE_VERIFY_FAILED" in said:
        return Misconfigured(f"{said}; give the certificates that vouch for the server (caConfigMapRef)")
    for kind, meaning, advice in _BY_TYPE:
        if isinstance(error, kind):
            return _advised(meaning, said, advice)
    words = {word.strip(":") for word in said.split()}  # an error inside a script, or a pipeline, is quoted
    for word, (meaning, advice) in _BY_WORD.items():
        if word in words:
            return _advised(meaning, said, advice)
    return Misconfigured(said)


def _advised(meaning: type[StoreError], said: str, advice: str) -> StoreError:
    return meaning(f"{said}; {advice}" if advice else said)
