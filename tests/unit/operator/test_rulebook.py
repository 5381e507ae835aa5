"""The rules as their users read them."""

from __future__ import annotations

from pathlib import Path

from agenttask_operator import exits, purging, rulebook, rules
from agenttask_operator.reasons import Reason

DOCUMENT = Path(__file__).parents[3] / "docs" / "rules.md"


def test_the_document_is_rendered_from_the_rules() -> None:
    assert DOCUMENT.read_text() == rulebook.as_markdown(), (
        "write it anew: python -c 'from agenttask_operator import rulebook; print(rulebook.as_markdown(), end=\"\")'"
    )


def test_every_rule_has_a_row_in_the_order_in_which_they_are_asked() -> None:
    rows = [line.split(" | ")[0].removeprefix("| ") for line in rulebook.as_markdown().splitlines()]
    names = [rule.__name__.removeprefix("_") for rule in (*rules.RULES, *purging.RULES, *exits.RULES)]
    assert [row for row in rows if row in set(names)] == names


NO_PLACE = {
    *(Reason.ACCEPTED, Reason.CHANGE_PENDING, Reason.NOTHING_RECORDED, Reason.RECORDED, Reason.RECOVERED),
    *(Reason.RECORDS_LOST, Reason.DAMAGE_FOUND, Reason.NOT_SUSPENDED, Reason.PURGE_ABANDONED),
}
"""Reasons of conditions and Events alone."""
ENDS = {end for kinds in (exits._TARGETED, exits._POD_REASONS) for end in kinds.values()} | {
    *(Reason.DELETED, Reason.NODE_LOST, Reason.NODE_REFUSED, Reason.VANISHED, Reason.NAME_TAKEN, Reason.SPEC_CHANGED),
    *(Reason.OOM_KILLED, Reason.CRASHED, Reason.NO_MESSAGE),
}
"""Reasons of attempts that have ended; while the next one waits, its task is BackingOff."""


def test_every_reason_a_task_can_show_stands_beside_a_rule() -> None:
    shown = {reason for reasons in rulebook.SHOWN.values() for reason in reasons}
    assert set(Reason) - shown == NO_PLACE | ENDS
