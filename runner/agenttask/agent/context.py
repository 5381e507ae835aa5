"""Pure: what of a long conversation requests leave out, as events do it to the state. `compaction` decides when.

The conversation itself stays whole: it is only sent differently from here on.
"""

from __future__ import annotations

from typing import Final

import msgspec

from agenttask.agent import accounts
from agenttask.agent.events import Dropped, Summarised
from agenttask.agent.state import State, text_of

FORGOTTEN: Final = "(no summary could be made of it)"


def apply(state: State, event: Dropped | Summarised) -> State:
    """The state whose requests are shorter. What was measured of longer ones counts no more."""
    if isinstance(event, Dropped):
        shorter = msgspec.structs.replace(state, dropped=event.before, room=event.room)
    else:
        said = text_of(event.reply.message.get("content")) if event.reply is not None else ""
        shorter = msgspec.structs.replace(
            accounts.replied(state, event),
            summarised=event.before,
            summary=said.strip() or FORGOTTEN,
            summaries=state.summaries + (event.reply is not None),
            room=0,
        )
    return msgspec.structs.replace(shorter, measured_messages=0, measured_tokens=0)
