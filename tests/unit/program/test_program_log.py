"""The run of a program in the log: what a snapshot, a fork, the status and the log tools make of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from agenttask.agent.events import Ended, Event, Item, Started, Stopped, Stored, encode
from agenttask.agent.reducer import fold
from agenttask.agent.state import State
from agenttask.clock import ManualClock
from agenttask.contract import ForkedFrom, ResumeFrom, TaskSpec
from agenttask.errors import SpecInvalid
from agenttask.fork import seed
from agenttask.journal import Journal, restore
from agenttask.log import Content, Holder, Log, Patience, Policy
from agenttask.logtool.desk import UsageError
from agenttask.report import render
from agenttask.store.memory import MemoryStore

from tests.unit.agent.conftest import PREFIX
from tests.unit.logtool.desks import Looker

POLICY: Final = Policy(snapshot_every=5, keep_last=2)


class Run:
    """Attempts of a program, by what they store."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.attempts = 0
        self.journal: Journal

    async def claim(self) -> None:
        self.attempts += 1
        opened = await Log.open(
            store=MemoryStore(self.objects),
            prefix=PREFIX,
            task="ns/task",
            attempt=self.attempts,
            holder=Holder(pod_uid=f"pod-{self.attempts}", process="p"),
            recorded=None,
            clock=ManualClock(),
            patience=Patience(),
            policy=POLICY,
        )
        assert opened.log is not None
        state = restore(base=opened.restored.base, records=opened.records)
        self.journal = Journal(log=opened.log, state=state, max_steps=50, witnesses=())
        if not state.started:
            await self.journal.commit(Started(prompt="p", program=True))

    async def large(self, path: str, body: bytes) -> Item:
        def pieces() -> Iterator[bytes]:
            yield body

        content = await self.journal.attach(pieces)
        assert content == Content(digest=hashlib.sha256(body).hexdigest(), size=len(body))
        return Item(path=path, mode=0o644, size=content.size, digest=content.digest)

    async def store(self, n: int) -> None:
        """Step n: a small file, and a large one that changes with every third."""
        changed = [small("n", str(n).encode()), await self.large("large", big(n // 3))]
        before = {item.path: item for item in self.items}
        fresh = tuple(item for item in changed if before.get(item.path) != item)
        await self.journal.commit(Stored(changed=fresh, step=n, total=20, text=f"at {n}"))

    @property
    def items(self) -> tuple[Item, ...]:
        assert self.journal.state.program is not None
        return self.journal.state.program.items


def small(path: str, content: bytes) -> Item:
    digest = hashlib.sha256(content).hexdigest()
    return Item(path=path, mode=0o644, size=len(content), digest=digest, content=content)


def big(n: int) -> bytes:
    return n.to_bytes(4, "big") * 2000


@pytest.fixture
async def run() -> Run:
    """An attempt that has stored its folder twenty times."""
    made = Run()
    await made.claim()
    for n in range(1, 21):
        await made.store(n)
    return made


async def test_a_folder_outlives_snapshots_and_what_nobody_refers_to_any_more_goes(run: Run) -> None:
    before = run.journal.state
    await run.claim()
    assert run.journal.state.program == before.program
    for item in run.items:
        if item.is_attached:
            parts = [piece async for piece in run.journal.read(Content(digest=item.digest, size=item.size))]
            assert b"".join(parts) == big(6)
    blobs = [key for key in run.objects if "/blob/" in key]
    assert len(blobs) <= 3, "of the seven large files there have been, old ones are gone"


async def test_an_attempt_lost_without_a_word_has_lost_no_model_call(run: Run) -> None:
    await run.claim()
    assert (run.journal.state.repeated_model_calls, run.journal.state.lost_prompt_tokens) == (0, 0)


def test_what_a_program_says_of_itself_is_no_progress_and_how_far_it_is_is() -> None:
    one, other = (encode(Stored(step=1, total=2, text=text)) for text in ("this", "that"))
    assert {**one, "volatile": None} == {**other, "volatile": None}
    assert encode(Stored(step=2, total=2)) != encode(Stored(step=1, total=2))


def after(*events: Event) -> State:
    return fold(((seq, event) for seq, event in enumerate(events, 2)), State())


BEGUN = Started(prompt="p", program=True)
SHOWN: dict[str, tuple[State, tuple[int, int, str, str]]] = {
    "nothing said": (after(BEGUN), (0, 0, "0", "running the program")),
    "a step of many": (after(BEGUN, Stored(step=3, total=9, text="words")), (3, 9, "3/9", "words")),
    "a step of who knows how many": (after(BEGUN, Stored(step=3)), (3, 0, "3", "running the program")),
    "stopped": (after(BEGUN, Stored(step=3), Stopped(reason="Stopped")), (3, 0, "3", "stopped; to be resumed")),
}


@pytest.mark.parametrize("sentence", SHOWN)
async def test_the_status_shows_what_the_program_has_said(run: Run, sentence: str) -> None:
    state, want = SHOWN[sentence]
    shown = render(state=state, head=run.journal.head, max_steps=50, resumed_from=None)
    got = shown.progress
    assert (got.step, got.max_steps, got.display, got.message) == want
    assert (shown.checkpoint.step, got.model, shown.usage.total_tokens) == (want[0], None, 0)


async def test_a_program_without_a_result_is_complete_all_the_same(run: Run) -> None:
    ended = after(BEGUN, Ended(outcome="Completed", reason="Completed", message="exit code 0"))
    shown = render(state=ended, head=run.journal.head, max_steps=50, resumed_from=None)
    assert shown.result is not None
    assert (shown.result.answer, shown.result.partial) == ("", None)


async def test_records_show_the_steps_the_program_has_said(run: Run) -> None:
    assert (run.journal.head.step, run.journal.head.max_steps) == (20, 20)


async def test_no_conversation_goes_on_from_a_programs_log(run: Run) -> None:
    seq = run.journal.head.seq
    origin = ForkedFrom(task="task", uid="uid", key=f"{PREFIX}/log/{seq:012d}", seq=seq)
    spec = TaskSpec(resume_from=ResumeFrom(task="task"))
    with pytest.raises(SpecInvalid, match="is of a program"):
        await seed(
            store=MemoryStore(run.objects),
            origin=origin,
            spec=spec,
            prompt=None,
            clock=ManualClock(),
            patience=Patience(),
        )


async def test_restore_puts_the_folder_of_any_kept_record_on_the_disk(run: Run, tmp_path: Path) -> None:
    looker = Looker(objects=run.objects)
    assert await looker.run("restore", output="json", files=tmp_path / "newest") == 0
    assert ((tmp_path / "newest/n").read_bytes(), (tmp_path / "newest/large").read_bytes()) == (b"20", big(6))
    seq = run.journal.head.seq - 1
    assert await looker.run("restore", output="json", files=tmp_path / "older", at=seq) == 0
    assert (tmp_path / "older/n").read_bytes() == b"19"
    with pytest.raises(UsageError, match="not there yet"):
        await looker.run("restore", output="json", files=tmp_path / "older")


async def test_show_tells_when_the_folder_was_stored_and_what_had_changed(run: Run) -> None:
    looker = Looker(objects=run.objects)
    await run.journal.commit(Stored(gone=("large",), step=20, total=20, text="tidied up"))
    assert await looker.run("show") == 0
    assert "step 20/20: folder stored, nothing changed" in looker.said
    assert "tidied up\n    large (gone)" in looker.said
    told = (await looker.json("show"))["entries"]
    assert told[-1]["type"] == "folderStored"
    assert told[-2]["changed"] == ["n"]
    assert "conversation" not in looker.said
