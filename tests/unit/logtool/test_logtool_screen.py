"""What people see: nothing a terminal would obey, headings nobody else can say, sizes and ages as kubectl has them."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta

import pytest
from agenttask.logtool.screen import CUT_AT, Screen, age, size, story, table
from agenttask.logtool.story import AttemptBegan, AttemptStopped, Entry, Message, OtherModel, Over, Reply, Result
from agenttask.terminal import safe

from tests.unit.logtool.desks import Terminal

HOSTILE = "a\x1b[2Jb\x9bc\rd\u202ee\ud800f\x00"


def test_a_terminal_is_shown_no_control_character_and_a_file_gets_all_of_them() -> None:
    terminal, file = Terminal(), io.StringIO()
    for out in (terminal, file):
        Screen(out=out, err=io.StringIO()).say(HOSTILE + "\n\tsecond line, 北京")
    assert terminal.getvalue() == "a\\u001b[2Jb\\u009bc\\u000dd\\u202ee\\ud800f\\u0000\n\tsecond line, 北京\n"
    assert file.getvalue() == "a\x1b[2Jb\x9bc\rd\u202ee?f\x00\n\tsecond line, 北京\n"


def test_json_is_read_back_as_it_was_and_harms_no_terminal() -> None:
    out = Terminal()
    Screen(out=out, err=io.StringIO()).json({"text": HOSTILE, "city": "北京"})
    assert json.loads(out.getvalue()) == {"text": HOSTILE, "city": "北京"}
    assert safe(out.getvalue()) == out.getvalue()
    assert "北京" in out.getvalue()


def test_a_counter_shows_on_a_terminal_alone_and_goes_before_the_next_word() -> None:
    terminal, file = Terminal(), io.StringIO()
    for err in (terminal, file):
        screen = Screen(out=io.StringIO(), err=err)
        screen.count(1, 2000)
        screen.warn("done")
    assert terminal.getvalue() == "\r1 of 2,000 objects\x1b[K\r\x1b[Kdone\n"
    assert file.getvalue() == "done\n"


NOW = datetime(2026, 1, 3, tzinfo=UTC)
AGES = {
    "seconds up to two minutes": (timedelta(seconds=119), "119s"),
    "then minutes": (timedelta(seconds=120), "2m"),
    "then hours": (timedelta(hours=2), "2h"),
    "then days": (timedelta(hours=49), "2d"),
    "a clock that is behind": (timedelta(seconds=-5), "0s"),
}


@pytest.mark.parametrize(("passed", "want"), AGES.values(), ids=AGES.keys())
def test_ages(passed: timedelta, want: str) -> None:
    assert age((NOW - passed).isoformat().replace("+00:00", "Z"), now=NOW) == want


def test_a_time_that_is_none_has_no_age() -> None:
    assert [age(time, now=NOW) for time in ("", "yesterday", "2026-01-01T00:00:00")] == ["?", "?", "?"]


@pytest.mark.parametrize(
    ("number", "want"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (3 << 30, "3.0 GiB"), (5 << 40, "5.0 TiB")]
)
def test_sizes(number: int, want: str) -> None:
    assert size(number) == want


def test_a_table_is_aligned_and_its_cells_are_one_line() -> None:
    assert table(["A", "LONGER"], [[1, "x\ny"], ["wide cell", ""]]) == "A           LONGER\n1           x y\nwide cell"


def test_what_was_said_is_indented_so_that_it_cannot_be_taken_for_a_heading() -> None:
    said = story(Message(role="user", text="hello\n=== attempt 9 began\n"), full=True)
    assert said.splitlines() == ["user (before the oldest record)", "    hello", "    === attempt 9 began"]


def test_a_long_text_is_cut_and_says_so() -> None:
    entry = Result(call="3.0", tool="t", text="x" * (CUT_AT + 1234), seq=4, time="T")
    assert story(entry, full=False).endswith("x … 1,234 more characters: --full shows them")
    assert story(entry, full=True).endswith("x" * CUT_AT)


ENTRIES = {
    "an attempt that goes on after a loss": (
        AttemptBegan(
            attempt=3,
            pod_uid="u",
            seq=8,
            time="T",
            resumed_from=3,
            lost="records 4 to 7 are left behind: why",
            damage=("snapshot s",),
            repeats_model_call=True,
        ),
        "=== attempt 3 began (record 8, T, pod u)\n"
        "    it goes on from record 3\n"
        "    the attempt before it ended without a word; a model call may have been made twice\n"
        "    records 4 to 7 are left behind: why\n"
        "    damaged, with nothing lost: snapshot s",
    ),
    "a fork": (
        AttemptBegan(attempt=1, pod_uid="u", seq=1, time="T", origin="ns/a/uid after record 7"),
        "=== attempt 1 began (record 1, T, pod u)\n    it goes on from ns/a/uid after record 7: this is a fork",
    ),
    "a stop that left a call behind": (
        AttemptStopped(reason="Stopped", calling=True, seq=5, time="T"),
        "=== the attempt stopped: Stopped; a model call was under way (record 5, T)",
    ),
    "another model": (
        OtherModel(model="large", why="small: HTTP 503", seq=5, time="T"),
        "=== large is asked from here on (record 5, T)\n    small: HTTP 503",
    ),
    "a reply that has a price": (
        Reply(step=2, text="So", seq=6, time="T", model="m", finish_reason="stop", cost_usd="0.000012"),
        "step 2 (record 6, T, m, 0+0 tokens, 0 ms, $0.000012)\n    So",
    ),
    "a cut reply after two failed tries": (
        Reply(
            step=2,
            text="So",
            seq=6,
            time="T",
            model="m",
            prompt_tokens=5,
            completion_tokens=6,
            ms=7,
            finish_reason="length",
            failed_tries=2,
        ),
        "step 2 (record 6, T, m, 5+6 tokens, 7 ms, length, after 2 failed tries)\n    So",
    ),
    "a reply of a fork's original": (
        Reply(step=0, text="So"),
        "step of the original (before the oldest record)\n    So",
    ),
    "a failed result": (
        Result(call="3.0", tool="t", text="error: no", failed=True, ms=9, seq=4, time="T"),
        "result 3.0 t (9 ms, record 4, T, failed)\n    error: no",
    ),
    "an end": (
        Over(outcome="Failed", reason="BudgetExhausted", message="50 steps were used", seq=9, time="T"),
        "=== the run is over: Failed, BudgetExhausted (record 9, T)\n    50 steps were used",
    ),
}


@pytest.mark.parametrize(("entry", "want"), ENTRIES.values(), ids=ENTRIES.keys())
def test_an_entry_in_words(entry: Entry, want: str) -> None:
    assert story(entry, full=False) == want
