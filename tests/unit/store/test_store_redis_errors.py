"""Whatever Redis or its client raises becomes the error that says what to do about it."""

from __future__ import annotations

import pytest
from agenttask.errors import Denied, Full, Misconfigured, StoreError, Unavailable
from agenttask.store.redis_errors import translated
from redis import exceptions as redis

SCRIPT = "script: 0a1b, on @user_script:3."

ERRORS: dict[str, tuple[Exception, type[StoreError], str]] = {
    "nobody listens": (redis.ConnectionError("Error 111 connecting to host:6379"), Unavailable, ""),
    "no answer in time": (redis.TimeoutError("Timeout reading from host:6379"), Unavailable, ""),
    "a name that does not resolve": (redis.ConnectionError("Error -2 connecting to nowhere"), Unavailable, ""),
    "a broken pipe": (BrokenPipeError(32, "Broken pipe"), Unavailable, ""),
    "nonsense on the wire": (redis.InvalidResponse("Protocol Error: 'H'"), Unavailable, ""),
    "a server that is still loading": (redis.BusyLoadingError("Redis is loading"), Unavailable, ""),
    "a script that holds the server": (redis.ResponseError("BUSY Redis is busy running a script"), Unavailable, ""),
    "too few replicas": (redis.ResponseError("NOREPLICAS Not enough good replicas to write"), Unavailable, ""),
    "a failover under way": (redis.ReadOnlyError("You can't write against a read only replica."), Unavailable, "prim"),
    "a failover under way, seen inside a script": (
        redis.ResponseError(f"READONLY You can't write against a read only replica. {SCRIPT}"),
        Unavailable,
        "primary",
    ),
    "a client cut off in a failover": (redis.ResponseError("UNBLOCKED force unblock from blocking"), Unavailable, ""),
    "a replica without its primary": (redis.ResponseError("MASTERDOWN Link with MASTER is down"), Unavailable, ""),
    "a cluster that is down": (redis.ClusterDownError("CLUSTERDOWN Hash slot not served"), Unavailable, ""),
    "no password": (redis.AuthenticationError("Authentication required."), Denied, "REDIS_PASSWORD"),
    "no password, by the bare word": (redis.ResponseError("NOAUTH Authentication required."), Denied, "REDIS_PASSWORD"),
    "a wrong password": (redis.ResponseError("WRONGPASS invalid username-password pair"), Denied, "REDIS_PASSWORD"),
    "a user without the right": (redis.NoPermissionError("this user has no permissions"), Denied, "prefix"),
    "a user without the right, by the bare word": (redis.ResponseError("NOPERM no permissions"), Denied, "prefix"),
    "a user without the right, inside a script": (
        redis.ResponseError(f"ACL failure in script: User agents has no permissions to run 'hsetnx' {SCRIPT}"),
        Denied,
        "prefix",
    ),
    "no memory": (redis.OutOfMemoryError("command not allowed when used memory > 'maxmemory'"), Full, "maxmemory"),
    "no memory, inside a script": (redis.ResponseError(f"OOM command not allowed {SCRIPT}"), Full, "maxmemory"),
    "no disk": (redis.ResponseError("MISCONF Errors writing to the AOF file"), Full, "make room"),
    "a key of another kind": (
        redis.ResponseError(f"WRONGTYPE Operation against a key {SCRIPT}"),
        Misconfigured,
        "pref",
    ),
    "a slot that has moved": (redis.MovedError("3999 host:6381"), Misconfigured, "single primary"),
    "a command that is not known": (redis.ResponseError("unknown command 'EVAL'"), Misconfigured, "EVAL"),
    "a certificate nobody vouches for": (
        redis.ConnectionError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed certificate"),
        Misconfigured,
        "caConfigMapRef",
    ),
}


@pytest.mark.parametrize(("raised", "want", "advice"), ERRORS.values(), ids=ERRORS.keys())
def test_an_error_of_redis_says_what_to_do(raised: Exception, want: type[StoreError], advice: str) -> None:
    error = translated(raised)
    assert type(error) is want
    assert advice in str(error)
    assert str(raised) in str(error), "the server's own words are kept"


def test_a_word_inside_another_is_not_taken_for_it() -> None:
    assert type(translated(redis.ResponseError("value of ROOMS is out of range"))) is Misconfigured
