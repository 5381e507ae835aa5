"""Replies of a model, as tests of what is done with them need them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from agenttask.agent.events import Replied, Tokens, Try


def tool_call(name: str = "t", arguments: Any = "{}", *, provider_id: str | None = "call_0") -> dict[str, Any]:
    """One tool call, as a provider writes it."""
    return {"id": provider_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def replied(
    content: Any = None,
    *calls: dict[str, Any],
    finish: str | None = None,
    tokens: Tokens = Tokens(prompt=10, completion=2),  # noqa: B008 - frozen
    model: str = "m",
    first_ms: int = 5,
    cost: Decimal | None = None,
    failed: tuple[Try, ...] = (),
    **message: Any,
) -> Replied:
    """A reply with this text and these calls; `message` is what else is in it."""
    asked: dict[str, Any] = {"tool_calls": list(calls)} if calls else {}
    return Replied(
        message={"role": "assistant", "content": content, **asked, **message},
        finish_reason=finish or ("tool_calls" if calls else "stop"),
        tokens=tokens,
        model=model,
        asked=model,
        ms=5,
        first_ms=first_ms,
        cost_usd=cost,
        failed=failed,
    )
