"""Settles calls in doubt: gathers the evidence, lets `doubt` judge, and records what follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from agenttask.agent.doubt import Evidence, Probed, Unsettled, is_over, settle
from agenttask.agent.events import CameToLight, Ended, Event, ToolReturned
from agenttask.agent.state import Call, State
from agenttask.contract import Tool
from agenttask.errors import InDoubt

ADVICE = "find out whether it took effect, then set the tool's onDoubt to TellModel or to Fail"


class Ledger(Protocol):
    """Where events go, and what fenced runners have left: the journal."""

    state: State

    async def commit(self, event: Event, /) -> None:
        """On return the event is durable and in the state."""
        ...

    async def left(self, call: str) -> ToolReturned | None:
        """The result of a call that its fenced runner left."""
        ...


class Prober(Protocol):
    """Someone who asks a tool's probe."""

    async def probe(self, call: Call) -> Probed | None:
        """What the probe says of the call; None if its tool has none."""
        ...


@dataclass(frozen=True, kw_only=True)
class Settler:
    """Settles what this attempt found in doubt. `unreported` is the assignment's."""

    ledger: Ledger
    prober: Prober
    tools: Mapping[str, Tool]
    attempt: int
    unreported: Sequence[int] | None

    async def settle(self, calls: Sequence[Call]) -> None:
        """Record what became of each call. Raises `InDoubt` with a list of those of which nothing says it."""
        unsettled = []
        for call in calls:
            tool = self.tools.get(call.tool)
            verdict = settle(call=call, tool=tool, evidence=await self._evidence(call))
            if isinstance(verdict, Unsettled):
                unsettled.append(verdict.why)
                continue
            await self.ledger.commit(verdict)
            if isinstance(verdict, Ended):
                return
        if unsettled:
            raise InDoubt(f"{'; '.join(unsettled)}; {ADVICE}")

    async def tell_what_came_to_light(self) -> None:
        """Record what has been left since of calls from which the run has gone on in doubt."""
        for doubted in self.ledger.state.doubted:
            if (late := await self.ledger.left(doubted.call)) is not None:
                found = CameToLight(
                    call=doubted.call, tool=doubted.tool, text=late.text, ok=late.ok, repeated=doubted.repeated
                )
                await self.ledger.commit(found)

    async def _evidence(self, call: Call) -> Evidence:
        late = await self.ledger.left(call.id)
        over = is_over(intended_by=call.intent or 0, attempt=self.attempt, unreported=self.unreported)
        return Evidence(late=late, probed=None if late else await self.prober.probe(call), over=over)
