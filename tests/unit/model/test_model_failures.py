"""What an endpoint's error means, status and body taken together."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec
import pytest
from agenttask.contract import RunnerReason
from agenttask.model.failures import REASONS, Failure, Trouble, classify, refuses, retry_after

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Case:
    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    want: Trouble
    after_seconds: float | None = None


def error(**fields: object) -> bytes:
    return msgspec.json.encode({"error": fields})


CASES = {
    "a rate limit is waited out as told": Case(
        status=429,
        body=error(message="slow down", code="rate_limit_exceeded"),
        headers={"retry-after": "7"},
        want=Trouble.RATE_LIMITED,
        after_seconds=7,
    ),
    "a 429 that is a used-up quota is not tried again": Case(
        status=429, body=error(code="insufficient_quota"), want=Trouble.QUOTA
    ),
    "the quota may be the error's type": Case(
        status=429, body=error(type="insufficient_quota", code=None), want=Trouble.QUOTA
    ),
    "a 403 of a gateway that is a used-up quota is not a matter of keys": Case(
        status=403, body=error(code="insufficient_user_quota"), want=Trouble.QUOTA
    ),
    "payment required": Case(status=402, want=Trouble.QUOTA),
    "a wrong key": Case(status=401, body=error(code="invalid_api_key"), want=Trouble.DENIED),
    "no right to the model": Case(status=403, want=Trouble.DENIED),
    "an unknown model": Case(status=404, body=error(code="model_not_found"), want=Trouble.NOT_FOUND),
    "an unknown model, said with a 400": Case(status=400, body=error(code="model_not_found"), want=Trouble.NOT_FOUND),
    "nothing is served there": Case(status=404, body=b"<html>", want=Trouble.NOT_FOUND),
    "a redirect is not followed with a key": Case(
        status=302, headers={"location": "https://elsewhere"}, want=Trouble.NOT_FOUND
    ),
    "a bad request": Case(
        status=400,
        body=error(message="temperature is too high", code="invalid_value"),
        want=Trouble.REFUSED,
    ),
    "a conversation that does not fit": Case(
        status=400, body=error(code="context_length_exceeded"), want=Trouble.TOO_LONG
    ),
    "a conversation that does not fit, said in words": Case(
        status=400,
        body=error(message="This model's maximum context length is 8192 tokens.", type="invalid_request_error"),
        want=Trouble.TOO_LONG,
    ),
    "a server that says it is overloaded, in its own way": Case(
        status=500, body=error(type="overloaded_error"), want=Trouble.OVERLOADED
    ),
    "a rate limit that is told in milliseconds": Case(
        status=429, headers={"retry-after-ms": "1500", "retry-after": "2"}, want=Trouble.RATE_LIMITED, after_seconds=1.5
    ),
    "an unavailable service says when it will be back": Case(
        status=503, headers={"retry-after": "9"}, want=Trouble.OVERLOADED, after_seconds=9
    ),
    "a request that cannot be processed": Case(status=422, want=Trouble.REFUSED),
    "a request that is too large": Case(status=413, want=Trouble.TOO_LONG),
    "overloaded": Case(status=529, want=Trouble.OVERLOADED),
    "a gateway's timeout": Case(status=504, body=b"<html>", want=Trouble.BROKEN),
    "a request timeout": Case(status=408, want=Trouble.TIMED_OUT),
    "a 200 that holds a rate limit": Case(status=200, body=error(code=429, message="slow"), want=Trouble.RATE_LIMITED),
    "a 200 that holds a wrong key": Case(status=200, body=error(code=401), want=Trouble.DENIED),
    "a 200 that holds some error": Case(status=200, body=error(message="oops"), want=Trouble.BROKEN),
    "an error in a list": Case(
        status=429,
        body=b'[{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED"}}]',
        want=Trouble.RATE_LIMITED,
    ),
    "a code that is a digit and no number": Case(status=200, body=error(code="²"), want=Trouble.BROKEN),
    "a code of more digits than Python reads": Case(status=200, body=error(code="4" * 5000), want=Trouble.BROKEN),
    "nesting without end": Case(status=500, body=b"[" * 200_000, want=Trouble.BROKEN),
    "an error that is only a string": Case(status=400, body=b'{"error": "no"}', want=Trouble.REFUSED),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_meaning(case: Case) -> None:
    got = classify(status=case.status, body=case.body, headers=case.headers, now=NOW)
    assert got == Failure(trouble=case.want, message=got.message, after_seconds=case.after_seconds, status=got.status)


def test_every_trouble_has_a_reason_that_the_task_can_show() -> None:
    assert set(REASONS) == set(Trouble)
    assert REASONS[Trouble.RATE_LIMITED] is RunnerReason.MODEL_RATE_LIMITED


def test_an_endpoint_that_does_not_know_a_field_is_understood_in_any_dialect() -> None:
    pydantic = b'{"detail": [{"type": "extra_forbidden", "loc": ["body", "stream_options"]}]}'
    got = classify(status=422, body=pydantic, headers={}, now=NOW)
    assert refuses(got, "stream_options")
    assert not refuses(classify(status=500, body=pydantic, headers={}, now=NOW), "stream_options")


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
    assert retry_after({} if value is None else {"retry-after": value}, now=NOW) == want
