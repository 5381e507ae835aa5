"""Purging a log: it is claimed once more, whatever its state, and all of it goes but the claims."""

from __future__ import annotations

import hashlib

import pytest
from agenttask.clock import ManualClock
from agenttask.errors import Fenced, FormatTooNew, Unavailable
from agenttask.log import Holder, Kind, Log, Patience, Policy, Purged, purge
from agenttask.log.blob import LARGE_BYTES
from agenttask.store import Store
from agenttask.store.faults import Call, Fault, FaultyStore
from agenttask.store.memory import MemoryStore

from tests.unit.log.conftest import PREFIX, Open
from tests.unit.log.rivals import file_of, frozen

FOLDERS = ("log", "snapshot", "blob", "late")


async def purged(store: Store, *, attempt: int = 2, pod: str | None = None) -> Purged:
    return await purge(
        store=store,
        prefix=PREFIX,
        task="ns/task",
        attempt=attempt,
        holder=Holder(pod_uid=pod or f"pod-{attempt}", process="p"),
        clock=ManualClock(),
        patience=Patience(jitter=lambda: 0.0),
    )


async def objects(store: Store) -> list[str]:
    """What lies below the prefix, by its name there."""
    listed = [entry for folder in FOLDERS for entry in await store.list(f"{PREFIX}/{folder}/", after=None)]
    return [entry.key.removeprefix(f"{PREFIX}/") for entry in listed]


async def written(store: Store, open_log: Open, *, final: bool = True) -> Log:
    """A log of one attempt with everything in it: large values, files, snapshots, something said too late."""
    log = (await open_log(store, policy=Policy(snapshot_every=2, keep_last=2))).log
    assert log is not None
    labels: list[str] = []
    for number in range(6):
        labels.append(f"label:{number}")
        event = {"label": labels[-1], "value": "v" * (LARGE_BYTES + 1)}
        file = await log.attach(lambda label=labels[-1]: iter([file_of(label)]))  # type: ignore[misc]
        await log.append(kind=Kind.EVENTS, events=[event], step=number, max_steps=9, attached=[file])
        if number in {2, 4}:
            await log.snapshot(frozen(labels))
    await store.put_if_absent(f"{PREFIX}/late/1-call", b"{}", first=False)
    if final:
        await log.append(kind=Kind.FINAL, events=[{"ended": True}], step=6, max_steps=9)
    return log


@pytest.mark.parametrize("final", [True, False])
async def test_all_goes_but_the_claims(open_log: Open, *, final: bool) -> None:
    store = MemoryStore()
    await written(store, open_log, final=final)
    before = await objects(store)
    assert {name.partition("/")[0] for name in before} == set(FOLDERS)
    done = await purged(store)
    left = await objects(store)
    claims = [f"log/{1:012d}", f"log/{9 if final else 8:012d}"]
    assert left == claims
    assert done == Purged(removed=len(before) - 1, claims=tuple(f"{PREFIX}/{name}" for name in left), unreadable=())


async def test_a_log_that_never_began_is_claimed_so_that_no_late_runner_begins_it(open_log: Open) -> None:
    store = MemoryStore()
    await purged(store)
    with pytest.raises(Fenced):
        await open_log(store, attempt=1)
    assert await objects(store) == [f"log/{1:012d}"]


async def test_a_zombie_that_wakes_after_a_purge_is_fenced_at_its_next_append(open_log: Open) -> None:
    store = MemoryStore()
    zombie = await written(store, open_log, final=False)
    await purged(store)
    with pytest.raises(Fenced):
        await zombie.append(kind=Kind.EVENTS, events=[{"label": "label:7"}], step=7, max_steps=9)
    assert len(await objects(store)) == 2


async def test_a_purge_is_fenced_by_a_newer_attempt_and_touches_nothing(open_log: Open) -> None:
    store = MemoryStore()
    await written(store, open_log)
    await purged(store, attempt=5)
    before = await objects(store)
    with pytest.raises(Fenced) as refused:
        await purged(store, attempt=3)
    assert refused.value.newest_attempt == 5
    with pytest.raises(Fenced):
        await purged(store, attempt=5, pod="another")
    assert await objects(store) == before


async def test_a_damaged_log_is_purged_but_for_what_may_be_a_claim(open_log: Open) -> None:
    store = MemoryStore()
    await written(store, open_log)
    key = f"{PREFIX}/log/{8:012d}"
    await store.delete(key)
    await store.put_if_absent(key, b"nothing that can be read", first=False)
    done = await purged(store)
    assert done.unreadable == (key,)
    assert await objects(store) == [f"log/{seq:012d}" for seq in (1, 8, 9)]


async def test_a_log_of_a_newer_format_is_left_alone(open_log: Open) -> None:
    store = MemoryStore()
    await written(store, open_log)
    line = b'{"format":99}'
    body = b"\n".join((line, hashlib.sha256(line).hexdigest().encode(), b""))
    await store.put_if_absent(f"{PREFIX}/log/{9:012d}", body, first=False)
    before = await objects(store)
    with pytest.raises(FormatTooNew):
        await purged(store)
    assert await objects(store) == before


class Gone(Exception):  # noqa: N818 - the end of a process
    """The purging process died here."""


@pytest.mark.parametrize("lands", [True, False])
async def test_a_purge_cut_off_at_any_store_call_is_done_by_the_next_attempt(open_log: Open, *, lands: bool) -> None:
    number, died = 0, True
    while died:
        number += 1
        store = MemoryStore()
        zombie = await written(store, open_log, final=False)

        async def end(call: Call, at: int = number) -> None:
            if call.number == at:
                raise Gone

        async def before(call: Call) -> Fault:
            await (end(call) if not lands else _nothing())
            return Fault.NONE

        async def after(call: Call) -> None:
            await (end(call) if lands else _nothing())

        try:
            await purged(FaultyStore(store, before=before, after=after), attempt=2)
            died = False
        except Gone:
            pass
        await purged(store, attempt=3)
        left = await objects(store)
        assert left == sorted(left)
        assert {name.partition("/")[0] for name in left} == {"log"}
        assert 2 <= len(left) <= 3, "one claim of each attempt that came to claim"
        with pytest.raises(Fenced):
            await zombie.append(kind=Kind.EVENTS, events=[{"label": "label:7"}], step=7, max_steps=9)
    assert number > 20, "it was cut off at each of its calls"


async def _nothing() -> None:
    return None


async def test_a_store_that_does_not_answer_is_waited_for_and_then_told(open_log: Open) -> None:
    store = MemoryStore()
    await written(store, open_log)

    async def silent(_: Call) -> Fault:
        return Fault.LOST_REQUEST

    with pytest.raises(Unavailable):
        await purged(FaultyStore(store, before=silent))
