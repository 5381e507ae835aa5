"""What a model endpoint's error means: status, body → `Failure`. Pure.

The body is asked first, since gateways in front of models put one meaning under many statuses.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from agenttask.contract import RunnerReason
from agenttask.errors import AgentTaskError

QUOTA_CODES = frozenset(
    {
        "insufficient_quota",
        "insufficient_user_quota",
        "billing_hard_limit_reached",
        "billing_not_active",
        "quota_exceeded",
        "insufficient_balance",
        "insufficient_credits",
    }
)
NOT_FOUND_CODES = frozenset({"model_not_found", "model_not_exist", "unknown_model", "deployment_not_found"})
DENIED_CODES = frozenset({"invalid_api_key", "invalid_authentication", "authentication_error", "permission_error"})
PASSING_STATUSES = frozenset({408, 409, 425, 429})
"""Statuses below 500 that say "not now" rather than "no"."""
MAX_MESSAGE = 300
"""Characters of an endpoint's own message that are passed on."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """One failed try. `retry` says whether another may help; `after_seconds` is how long the endpoint asks to wait."""

    reason: RunnerReason
    message: str
    retry: bool = False
    after_seconds: float | None = None


class ModelError(AgentTaskError):
    """No reply, after every try that made sense. `reason` says whose turn it is."""

    def __init__(self, *, reason: RunnerReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class BadReplyError(AgentTaskError):
    """A 200 whose body is not a whole reply; asking again may help."""


def classify(*, status: int, body: bytes, headers: Mapping[str, str], now: datetime) -> Failure:
    """What an HTTP error, or an error inside a 200, means. `now` resolves a Retry-After that is a date."""
    codes, said = _said(body)
    numeric = next(
        (int(code) for code in codes if len(code) == 3 and code.isdecimal() and 400 <= int(code) < 600), None
    )
    if status < 300 and numeric is not None:
        status = numeric
    message = f"HTTP {status}: {said}" if said else f"HTTP {status}"
    reason = _reason(status, codes)
    if reason is RunnerReason.MODEL_UNAVAILABLE:
        after = retry_after(headers.get("retry-after"), now=now)
        return Failure(reason=reason, message=message, retry=True, after_seconds=after)
    if 300 <= status < 400:
        message = f"HTTP {status}: a redirect to {headers.get('location')}; a key follows no redirect"[:MAX_MESSAGE]
    return Failure(reason=reason, message=message)


def _reason(status: int, codes: frozenset[str]) -> RunnerReason:
    if codes & QUOTA_CODES or status == 402:
        return RunnerReason.MODEL_QUOTA_EXHAUSTED
    if status >= 500 or status < 300 or status in PASSING_STATUSES:
        return RunnerReason.MODEL_UNAVAILABLE
    if codes & DENIED_CODES or status in {401, 403}:
        return RunnerReason.MODEL_DENIED
    if codes & NOT_FOUND_CODES or status in {404, 405, 410} or status < 400:
        return RunnerReason.MODEL_NOT_FOUND
    return RunnerReason.MODEL_REFUSED


def retry_after(value: str | None, *, now: datetime) -> float | None:
    """Seconds a Retry-After header asks to wait, or None if there is none that can be read."""
    if value is None:
        return None
    with contextlib.suppress(ValueError):
        seconds = float(value)
        return max(0.0, seconds) if math.isfinite(seconds) else None
    try:
        when = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - now).total_seconds())


def holds_error(body: bytes) -> bool:
    """Whether a 200's body is an error after all, as some gateways send it."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False
    return isinstance(value, dict) and value.get("error") is not None


def _said(body: bytes) -> tuple[frozenset[str], str]:
    """Codes and message of an error body, in any of the shapes that are about; its beginning if it has none."""
    try:
        value: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return frozenset(), body[:MAX_MESSAGE].decode(errors="replace").strip()
    if isinstance(value, list) and value:
        value = value[0]
    error = value.get("error", value) if isinstance(value, dict) else value
    if not isinstance(error, dict):
        return frozenset(), str(error)[:MAX_MESSAGE]
    codes = frozenset(str(error[key]) for key in ("code", "type", "status") if error.get(key) is not None)
    said = error.get("message") or error.get("detail") or msgspec.json.encode(error).decode()
    return codes, str(said)[:MAX_MESSAGE]
