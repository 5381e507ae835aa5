"""The scripted model (tests/peers/model.mjs) as the tests use it: scripts in, calls out.

One process serves a whole test session; each task has a model name of its own, which is how its calls are told apart.
"""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.harness.wait import PATIENCE_SECONDS

PEERS = Path(__file__).parents[2] / "peers"
_NONE_KEPT = httpx.Limits(max_keepalive_connections=0)
"""Several threads ask, and the server closes a connection that is idle for as long as the client keeps one."""

Reply = dict[str, Any]
Fault = dict[str, Any]


def calls(*tools: tuple[str, dict[str, Any]]) -> Reply:
    """A reply that asks for these tool calls, by name and arguments."""
    return {
        "toolCalls": [
            {"id": f"call_{name}_{index}", "name": name, "arguments": args} for index, (name, args) in enumerate(tools)
        ]
    }


def says(text: str) -> Reply:
    """A final answer."""
    return {"content": text}


def says_sum() -> Reply:
    """A final answer over all tool results, so that a lost or doubled one makes it wrong."""
    return {"sum": True}


def refuses(status: int, message: str) -> Reply:
    """An error answer."""
    return {"error": {"message": message, "type": "error"}, "status": status}


def out_of_quota(*, seconds: int) -> Fault:
    """An account with nothing left, and something again after so long."""
    error = {"message": "You exceeded your current quota.", "type": "insufficient_quota"}
    return {"response": {"status": 429, "error": error, "retryAfter": seconds}}


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request the model got, from the journal."""

    messages: tuple[dict[str, Any], ...]
    status: int
    time_ms: int
    offers_tools: bool

    @property
    def turn(self) -> int:
        """Which turn of the conversation it asks for, from 0."""
        return sum(message["role"] == "assistant" for message in self.messages)


class ScriptedModel:
    """A running scripted model and its journal."""

    def __init__(self, *, address: str) -> None:
        assert (PEERS / "node_modules").is_dir(), "run `npm ci` in tests/peers first (make test does)"
        self._process = subprocess.Popen(
            ["node", str(PEERS / "model.mjs"), "0.0.0.0", "0"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        port = int(json.loads(self._process.stdout.readline())["port"])
        self.base_url = f"http://{address}:{port}/v1"
        self._http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_SECONDS, limits=_NONE_KEPT)

    def close(self) -> None:
        """End the process; it ends by itself with this one."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=PATIENCE_SECONDS)
        self._process.stdout.close()
        self._http.close()

    def script(
        self,
        model: str,
        replies: Sequence[Reply],
        *,
        delay_seconds: float = 0.0,
        faults: Mapping[int, Fault] | None = None,
        hold_after: int | None = None,
    ) -> None:
        """Set what `model` answers, turn by turn, and how long it thinks each time.

        `faults` happen to the n-th call, from 0, in place of what is scripted; see tests/peers/model.mjs.
        Calls behind the first `hold_after` are answered once the test calls `release`: no run gets further before.
        """
        body: dict[str, Any] = {"replies": list(replies), "delayMs": round(delay_seconds * 1000)}
        body |= {"faults": faults or {}} | ({} if hold_after is None else {"holdAfter": hold_after})
        self._http.put(f"/scripts/{model}", json=body).raise_for_status()

    def release(self, model: str, *, delay_seconds: float = 0.0, hold_after: int | None = None) -> None:
        """Answer the calls of `model` after `delay_seconds`, those held up to now too; but none behind `hold_after`."""
        body = {"delayMs": round(delay_seconds * 1000)} | ({} if hold_after is None else {"holdAfter": hold_after})
        self._http.post(f"/scripts/{model}", json=body).raise_for_status()

    def script_count(self, model: str, *, tool: str, up_to: int, limit_tokens: int) -> None:
        """Let `model` call the tool with {"n": 1}, 2, …, `up_to`, and take no request above a limit.

        How far it got it knows from the request alone, a summary that it made itself included.
        """
        body = {"tool": tool, "callsUpTo": up_to, "limit": limit_tokens}
        self._http.put(f"/scripts/{model}", json=body).raise_for_status()

    def begun(self, model: str) -> int:
        """How many calls have arrived, those in flight included."""
        return len(self.arrivals(model))

    def arrivals(self, model: str) -> list[float]:
        """When each call arrived, in seconds of Unix time, those in flight included."""
        arrivals = self._http.get(f"/scripts/{model}").raise_for_status().json()["arrivals"]
        return [milliseconds / 1000 for milliseconds in arrivals]

    def journal(self, model: str) -> list[Call]:
        """Every call that was answered, those nobody waited for included, oldest first."""
        entries = self._http.get("/__aimock/journal", params={"path": "/chat/completions"}).raise_for_status().json()
        return [
            Call(
                messages=tuple(entry["body"]["messages"]),
                status=entry["response"]["status"],
                time_ms=entry["timestamp"],
                offers_tools=bool(entry["body"].get("tools")),
            )
            for entry in entries
            if entry["body"] and entry["body"].get("model") == model
        ]

    def repeated(self, model: str) -> dict[int, int]:
        """Turns that were asked for more than once, with how often beyond the first."""
        turns = Counter(call.turn for call in self.journal(model))
        return {turn: count - 1 for turn, count in turns.items() if count > 1}
