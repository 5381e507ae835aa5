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
from enum import Enum, auto
from typing import Any, Final

import msgspec

from agenttask.agent.events import Tokens, Try
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
OVERLOAD_CODES = frozenset({"overloaded_error", "overloaded", "server_overloaded", "service_unavailable"})
RATE_CODES = frozenset({"rate_limit_exceeded", "rate_limit_error", "rate_limited", "too_many_requests"})
TOO_LONG_CODES = frozenset({"context_length_exceeded", "context_window_exceeded", "string_above_max_length"})
TOO_LONG_WORDS = ("maximum context length", "context window", "context length", "prompt is too long")
"""Where a server has no code for a conversation it cannot hold, it says so in these words."""
REFUSING_STATUSES = frozenset({400, 405, 406, 415, 422, 501})
"""Statuses under which servers refuse a feature they do not have."""
MAX_MESSAGE = 300
"""Characters of an endpoint's own message that are passed on."""


class Trouble(Enum):
    """Kinds of failure, by what is to be done about them."""

    RATE_LIMITED = auto()
    """Wait as told."""
    OVERLOADED = auto()
    """Back off, and leave soon for a model that has room."""
    TIMED_OUT = auto()
    """Likewise: every further try takes as long."""
    BROKEN = auto()
    """The network, or half a reply: try again."""
    QUOTA = auto()
    """The account is used up; asking it again cannot help."""
    TOO_LONG = auto()
    """The conversation does not fit into this model."""
    DENIED = auto()
    NOT_FOUND = auto()
    REFUSED = auto()
    """The request itself is bad."""


PASSING: Final = frozenset({Trouble.RATE_LIMITED, Trouble.OVERLOADED, Trouble.TIMED_OUT, Trouble.BROKEN})
"""What another try may not meet again."""
REASONS: Final = {
    Trouble.RATE_LIMITED: RunnerReason.MODEL_RATE_LIMITED,
    Trouble.OVERLOADED: RunnerReason.MODEL_UNAVAILABLE,
    Trouble.TIMED_OUT: RunnerReason.MODEL_UNAVAILABLE,
    Trouble.BROKEN: RunnerReason.MODEL_UNAVAILABLE,
    Trouble.QUOTA: RunnerReason.MODEL_QUOTA_EXHAUSTED,
    Trouble.TOO_LONG: RunnerReason.CONTEXT_TOO_LONG,
    Trouble.DENIED: RunnerReason.MODEL_DENIED,
    Trouble.NOT_FOUND: RunnerReason.MODEL_NOT_FOUND,
    Trouble.REFUSED: RunnerReason.MODEL_REFUSED,
}


@dataclass(frozen=True, kw_only=True)
class Failure:
    """One failed try."""

    trouble: Trouble
    message: str
    after_seconds: float | None = None
    """How long the endpoint asks to wait."""
    status: int | None = None
    tokens: Tokens | None = None
    """What it probably cost all the same, where a reply had begun."""

    @property
    def passing(self) -> bool:
        """Whether another try may help."""
        return self.trouble in PASSING


class ModelError(AgentTaskError):
    """No reply, after every try that made sense.

    `reason` says whose turn it is, `failed` what was tried, `after_seconds` how long the endpoint asks to wait, where
    that is longer than a call should, or where nothing else can help.
    """

    def __init__(
        self,
        *,
        reason: RunnerReason,
        message: str,
        failed: tuple[Try, ...] = (),
        after_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.failed = failed
        self.after_seconds = after_seconds


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
    trouble = _trouble(status, codes, said.lower())
    if 300 <= status < 400:
        message = f"HTTP {status}: a redirect to {headers.get('location')}; a key follows no redirect"[:MAX_MESSAGE]
    after = retry_after(headers, now=now) if trouble in PASSING or trouble is Trouble.QUOTA else None
    return Failure(trouble=trouble, message=message, after_seconds=after, status=status)


def _trouble(status: int, codes: frozenset[str], said: str) -> Trouble:
    for known, statuses, trouble in _RULES:
        if codes & known or status in statuses:
            return trouble
    return Trouble.TOO_LONG if any(words in said for words in TOO_LONG_WORDS) else Trouble.REFUSED


_NONE: Final[frozenset[str]] = frozenset()
_RULES: Final[tuple[tuple[frozenset[str], frozenset[int], Trouble], ...]] = (
    (QUOTA_CODES, frozenset({402}), Trouble.QUOTA),
    (OVERLOAD_CODES, frozenset({503, 529}), Trouble.OVERLOADED),
    (RATE_CODES, frozenset({429}), Trouble.RATE_LIMITED),
    (_NONE, frozenset({408}), Trouble.TIMED_OUT),
    (_NONE, frozenset({*range(300), 409, 425, *range(500, 1000)}), Trouble.BROKEN),
    (DENIED_CODES, frozenset({401, 403}), Trouble.DENIED),
    (NOT_FOUND_CODES, frozenset({*range(300, 400), 404, 405, 410}), Trouble.NOT_FOUND),
    (TOO_LONG_CODES, frozenset({413}), Trouble.TOO_LONG),
)
"""Codes and statuses, the first that fits counts."""


def retry_after(headers: Mapping[str, str], *, now: datetime) -> float | None:
    """Seconds the endpoint asks to wait, or None if it says nothing that can be read."""
    if (milliseconds := _number(headers.get("retry-after-ms"))) is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    if value is None:
        return None
    if (seconds := _number(value)) is not None:
        return seconds
    try:
        when = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - now).total_seconds())


def _number(value: str | None) -> float | None:
    with contextlib.suppress(ValueError):
        number = float(value) if value is not None else math.nan
        return max(0.0, number) if math.isfinite(number) else None
    return None


def refuses(failure: Failure, feature: str) -> bool:
    """Whether the endpoint says that it does not know this field of the request."""
    return failure.status in REFUSING_STATUSES and feature in failure.message.lower()


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
