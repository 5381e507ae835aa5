"""The demo's own parts: the stand-in plays its conversation from what it is sent; the table says what happened."""

from __future__ import annotations

import json
from typing import Any

from examples.demo.rivers import KILOMETRES
from examples.demo.standin_model import RIVERS, STRANGER, reply
from examples.demo.table import rows_of, table

TOOLS = ["lookup", "add"]


def test_the_stand_in_looks_up_every_river_adds_the_lengths_and_says_their_sum() -> None:
    messages: list[dict[str, Any]] = [{"role": "user", "content": "How far?"}]
    while "tool_calls" in (message := reply(messages, tools=TOOLS)):
        (call,) = message["tool_calls"]
        given = json.loads(call["function"]["arguments"])
        result = {"km": KILOMETRES[given["river"]]} if "river" in given else sum(given["numbers"])
        messages += [message, {"role": "tool", "tool_call_id": call["id"], "content": json.dumps(result)}]

    assert sum(entry["role"] == "assistant" for entry in messages) == len(RIVERS) + 1
    assert message["content"] == f"{sum(KILOMETRES.values()):,} km in all; the Nile is the longest of the ten."


def test_the_stand_in_says_the_same_when_it_is_asked_again() -> None:
    asked = [{"role": "user", "content": "How far?"}]

    assert reply(asked, tools=TOOLS) == reply(asked, tools=TOOLS)


def test_the_stand_in_tells_every_other_task_what_it_is() -> None:
    message = reply([{"role": "user", "content": "Name three rivers."}], tools=["add"])
    assert message == {"role": "assistant", "content": STRANGER}


def test_the_table_has_a_row_per_attempt_with_why_it_ended_and_what_it_went_on_from() -> None:
    status = {
        "attempts": [
            {"attempt": 1, "pod": "research-1", "node": "node1", "outcome": "Stopped", "reason": "Deleted"},
            {
                "attempt": 2,
                "pod": "research-2",
                "node": "node2",
                "outcome": "Completed",
                "reason": "Completed",
                "resumedFrom": "prod/demo/research/uid/log/000000000010",
            },
        ],
        "usage": {
            "attempts": [{"attempt": 1, "modelCalls": 4, "repeatedModelCalls": 0}, {"attempt": 2, "modelCalls": 8}]
        },
    }

    assert table(rows_of(status)).splitlines() == [
        "ATTEMPT   POD          NODE    WHY IT ENDED       RESUMED FROM         MODEL CALLS   REPEATED",
        "1         research-1   node1   Stopped: Deleted   the start            4             0",
        "2         research-2   node2   Completed          …/log/000000000010   8             0",
    ]
