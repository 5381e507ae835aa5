"""What an endpoint's error means, status and body taken together."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec
import pytest
from agenttask.contract import RunnerReason
from agenttask.model.failures import Failure, classify, retry_after

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Case:
    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    want: RunnerReason
    retry: bool = False
    after_seconds: float | None = None


def error(**fields: object) -> bytes:
    return msgspec.json.encode({"error": fields})


CASES = {
    "a rate limit is waited out as told": Case(
        status=429,
        body=error(message="slow down", code="rate_limit_exceeded"),
        headers={"retry-after": "7"},
        want=RunnerReason.MODEL_UNAVAILABLE,
        retry=True,
        after_seconds=7,
    ),
    "a 429 that is a used-up quota is not tried again": Case(
        status=429, body=error(code="insufficient_quota"), want=RunnerReason.MODEL_QUOTA_EXHAUSTED
    ),
    "the quota may be the error's type": Case(
        status=429, body=error(type="insufficient_quota", code=None), want=RunnerReason.MODEL_QUOTA_EXHAUSTED
    ),
    "a 403 of a gateway that is a used-up quota is not a matter of keys": Case(
        status=403, body=error(code="insufficient_user_quota"), want=RunnerReason.MODEL_QUOTA_EXHAUSTED
    ),
    "payment required": Case(status=402, want=RunnerReason.MODEL_QUOTA_EXHAUSTED),
    "a wrong key": Case(status=401, body=error(code="invalid_api_key"), want=RunnerReason.MODEL_DENIED),
    "no right to the model": Case(status=403, want=RunnerReason.MODEL_DENIED),
    "an unknown model": Case(status=404, body=error(code="model_not_found"), want=RunnerReason.MODEL_NOT_FOUND),
    "an unknown model, said with a 400": Case(
        status=400, body=error(code="model_not_found"), want=RunnerReason.MODEL_NOT_FOUND
    ),
    "nothing is served there": Case(status=404, body=b"<html>", want=RunnerReason.MODEL_NOT_FOUND),
    "a redirect is not followed with a key": Case(
        status=302, headers={"location": "https://elsewhere"}, want=RunnerReason.MODEL_NOT_FOUND
    ),
    "a bad request": Case(
        status=400,
        body=error(message="context too long", code="context_length_exceeded"),
        want=RunnerReason.MODEL_REFUSED,
    ),
    "a request that cannot be processed": Case(status=422, want=RunnerReason.MODEL_REFUSED),
    "a request that is too large": Case(status=413, want=RunnerReason.MODEL_REFUSED),
    "overloaded": Case(status=529, want=RunnerReason.MODEL_UNAVAILABLE, retry=True),
    "a gateway's timeout": Case(status=504, body=b"<html>", want=RunnerReason.MODEL_UNAVAILABLE, retry=True),
    "a request timeout": Case(status=408, want=RunnerReason.MODEL_UNAVAILABLE, retry=True),
    "a 200 that holds a rate limit": Case(
        status=200, body=error(code=429, message="slow"), want=RunnerReason.MODEL_UNAVAILABLE, retry=True
    ),
    "a 200 that holds a wrong key": Case(status=200, body=error(code=401), want=RunnerReason.MODEL_DENIED),
    "a 200 that holds some error": Case(
        status=200, body=error(message="oops"), want=RunnerReason.MODEL_UNAVAILABLE, retry=True
    ),
    "an error in a list": Case(
        status=429,
        body=b'[{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED"}}]',
        want=RunnerReason.MODEL_UNAVAILABLE,
        retry=True,
    ),
    "a code that is a digit and no number": Case(
        status=200, body=error(code="²"), want=RunnerReason.MODEL_UNAVAILABLE, retry=True
    ),
    "a code of more digits than Python reads": Case(
        status=200, body=error(code="4" * 5000), want=RunnerReason.MODEL_UNAVAILABLE, retry=True
    ),
    "nesting without end": Case(status=500, body=b"[" * 200_000, want=RunnerReason.MODEL_UNAVAILABLE, retry=True),
    "an error that is only a string": Case(status=400, body=b'{"error": "no"}', want=RunnerReason.MODEL_REFUSED),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_meaning(case: Case) -> None:
    got = classify(status=case.status, body=case.body, headers=case.headers, now=NOW)
    assert got == Failure(reason=case.want, message=got.message, retry=case.retry, after_seconds=case.after_seconds)


def test_the_endpoint_s_own_words_are_passed_on() -> None:
    got = classify(status=400, body=error(message="max_tokens is too large"), headers={}, now=NOW)
    assert got.message == "HTTP 400: max_tokens is too large"


@pytest.mark.parametrize(
    ("value", "want"),
    [
        (None, None),
        ("12", 12.0),
        ("1.5", 1.5),
        ("-3", 0.0),
        ("Thu, 01 Jan 2026 00:00:30 GMT", 30.0),
        ("Wed, 31 Dec 2025 00:00:30 GMT", 0.0),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("Mon, 01 Jan 99999999999999 00:00:00 GMT", None),
    ],
)
def test_retry_after(value: str | None, want: float | None) -> None:
    assert retry_after(value, now=NOW) == want
