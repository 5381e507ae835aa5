"""A log as a story: every message once and in order, and every attempt where it began."""

from __future__ import annotations

from dataclasses import dataclass

import httpx
import msgspec
import pytest
from agenttask.agent.fork import NOT_RUN
from agenttask.agent.state import State
from agenttask.clock import ManualClock
from agenttask.contract import Fallback, ForkedFrom, ResumeFrom
from agenttask.journal import restore
from agenttask.log import Kind, Patience, Record, read
from agenttask.log.record import parse
from agenttask.logtool.story import (
    AttemptBegan,
    AttemptStopped,
    Configured,
    Entry,
    Message,
    OtherModel,
    Over,
    Reply,
    Result,
    tell,
)
from agenttask.store.memory import MemoryStore

from tests.unit.agent.conftest import PREFIX, PRICE, Attempts
from tests.unit.logtool.desks import killed_at_model_call, two_attempts


async def records_of(attempts: Attempts) -> tuple[Record, ...]:
    found = await attempts.log()
    assert found.base is None
    return found.records


def claims_of(records: tuple[Record, ...]) -> list[Record]:
    return [record for record in records if record.kind is Kind.CLAIM]


def brief(entries: list[Entry]) -> list[str]:
    """Each entry in a word or two."""
    words = []
    for entry in entries:
        match entry:
            case AttemptBegan():
                words.append(f"attempt {entry.attempt}")
            case AttemptStopped():
                words.append(f"stopped: {entry.reason}")
            case Configured():
                words.append(f"system: {entry.system_prompt}")
            case Message():
                words.append(f"{entry.role}: {entry.text}")
            case Reply():
                words.append(
                    f"{entry.step}: {entry.text or [f'{call.tool}({call.arguments})' for call in entry.calls]}"
                )
            case Result():
                words.append(f"{entry.tool} gave {entry.text}")
            case OtherModel():
                words.append(f"now {entry.model}: {entry.why}")
            case Over():
                words.append(f"over: {entry.outcome}")
    return words


STORY = [
    "attempt 1",
    "system: Be exact.",
    "user: Add the numbers up.",
    """1: ['echo({"n": 0})']""",
    "echo gave 0",
    "attempt 2",
    """2: ['echo({"n": 1})']""",
    "echo gave 1",
    """3: ['echo({"n": 2})']""",
    "echo gave 2",
    "4: The sum is 3.",
    "over: Completed",
]


def whole(records: tuple[Record, ...]) -> list[Entry]:
    return tell(state=State(), after=0, records=records, claims=claims_of(records))


async def test_a_whole_log_is_told_in_order_with_where_each_attempt_began() -> None:
    told = whole(await records_of(await two_attempts()))
    assert brief(told) == STORY
    second, reply = told[5], told[3]
    assert isinstance(second, AttemptBegan)
    assert (second.seq, second.resumed_from, second.repeats_model_call) == (5, 4, True)
    assert isinstance(reply, Reply)
    assert (reply.seq, reply.calls[0].id, reply.prompt_tokens, reply.model) == (3, "3.0", 100, "m")


@pytest.mark.parametrize("behind", range(12))
async def test_what_a_snapshot_tells_is_what_the_records_before_it_would(behind: int) -> None:
    records = await records_of(await two_attempts())
    state = restore(base=None, records=records[:behind])
    assert brief(tell(state=state, after=behind, records=records[behind:], claims=claims_of(records))) == STORY


@pytest.mark.parametrize("behind", range(6))
async def test_a_fork_is_told_with_what_it_was_given_before_its_own_first_attempt(behind: int) -> None:
    original = await two_attempts()
    origin = ForkedFrom(task="task", uid="uid", key=f"{PREFIX}/log/{6:012d}", seq=6)
    fork = Attempts(
        objects=original.objects,
        uid="fork",
        forked_from=origin,
        prompt="And once more?",
        resume_from=ResumeFrom(task="task"),
        system_prompt="Be exact.",
    )
    await fork.run(1)
    found = await fork.log()
    assert found.base is not None
    state = restore(base=found.base, records=found.records[:behind])
    told = tell(state=state, after=behind, records=found.records[behind:], claims=claims_of(found.records))
    assert brief(told)[:8] == [
        "system: Be exact.",
        "user: Add the numbers up.",
        """-1: ['echo({"n": 0})']""",
        "echo gave 0",
        """0: ['echo({"n": 1})']""",
        f"echo gave {NOT_RUN}",
        "user: And once more?",
        "attempt 1",
    ]
    assert brief(told)[8].startswith("1: ")


async def test_results_that_a_snapshot_has_of_calls_still_open_are_told_once() -> None:
    attempts = Attempts()
    attempts.world.turns, attempts.world.width = 2, 3
    await attempts.run(1)
    *before, shared, answer, final = await records_of(attempts)
    assert len(shared.events) == 3
    first, others = (
        msgspec.structs.replace(shared, events=events) for events in (shared.events[:1], shared.events[1:])
    )
    state = restore(base=None, records=[*before, first])
    assert len(state.open_calls) == 2
    told = tell(state=state, after=first.seq, records=[others, answer, final], claims=before[:1])
    assert brief(told) == brief(whole((*before, shared, answer, final)))


async def test_a_stop_and_its_reason_are_told() -> None:
    attempts = Attempts()
    stop = attempts.stop()

    async def ask_to_stop(_: object) -> None:
        stop.request()

    attempts.world.before_tool = ask_to_stop
    await attempts.run(1, stop=stop)
    attempts.world.before_tool = None
    await attempts.run(2)
    told = whole(await records_of(attempts))
    assert brief(told)[5:8] == ["stopped: Stopped", "attempt 2", """2: ['echo({"n": 1})']"""]
    began = [entry for entry in told if isinstance(entry, AttemptBegan)]
    assert [entry.repeats_model_call for entry in began] == [False, False]


@dataclass(frozen=True, kw_only=True)
class Rewound:
    """Attempt 2 died behind a record that then broke, so that attempt 3 left both behind."""

    objects: dict[str, bytes]
    broken: str

    @property
    def claims(self) -> list[Record]:
        bodies = [(seq, f"{PREFIX}/log/{seq:012d}") for seq in (1, 5, 8)]
        return [parse(key=key, seq=seq, body=self.objects[key]) for seq, key in bodies]


async def rewound() -> Rewound:
    attempts = Attempts(system_prompt="Be exact.")
    await killed_at_model_call(2, attempts=attempts, attempt=1)
    await killed_at_model_call(2, attempts=attempts, attempt=2)
    broken = f"{PREFIX}/log/{4:012d}"
    attempts.objects[broken] = attempts.objects[broken][:-1] + b"?"
    await attempts.run(3)
    return Rewound(objects=attempts.objects, broken=broken)


async def test_what_a_rewind_has_lost_is_told_and_the_attempts_lost_with_it_are_not() -> None:
    run = await rewound()
    store = MemoryStore(run.objects)
    found = await read(store=store, prefix=PREFIX, clock=ManualClock(), patience=Patience())
    assert found.base is not None, "an attempt that rewound begins with a snapshot"
    assert [claim.attempt for claim in run.claims] == [1, 2, 3]
    state = restore(base=found.base, records=())
    told = tell(state=state, after=found.base.ref.seq, records=found.records, claims=run.claims)
    assert brief(told) == [*STORY[:4], "attempt 3", *(word for word in STORY[4:] if word != "attempt 2")]
    lost = [entry.lost for entry in told if isinstance(entry, AttemptBegan)]
    assert lost[0] == ""
    assert lost[1].startswith(f"records 4 to 7 are left behind: record {run.broken} is damaged")


async def test_another_model_is_told_with_what_was_wrong_with_the_one_before() -> None:
    attempts = Attempts()
    attempts.fallbacks = (Fallback(name="large", price=PRICE),)

    async def overloaded(request: httpx.Request) -> httpx.Response | None:
        asked = msgspec.json.decode(request.content)["model"]
        return httpx.Response(503, text="full") if asked == "m" else None

    attempts.world.before_model = overloaded
    await attempts.run(1)
    told = whole(await records_of(attempts))
    assert brief(told)[3:5] == ["now large: m: HTTP 503: full", """1: ['echo({"n": 0})']"""]
    assert [entry.cost_usd for entry in told if isinstance(entry, Reply)] == ["0.000120"] * 4
