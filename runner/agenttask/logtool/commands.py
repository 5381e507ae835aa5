"""The commands: each takes a desk and returns its exit code, 0 or 1; what else can go wrong is raised."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, Final

from agenttask.agent.state import State
from agenttask.errors import CheckpointCorrupt, FormatTooNew, NotFound
from agenttask.journal import restore as state_of
from agenttask.log import (
    Bad,
    Keys,
    Kind,
    Record,
    Restored,
    Survey,
    attached_to,
    each_record,
    prunable,
    read_blob,
)
from agenttask.log.fetch import in_order
from agenttask.logtool import purged, view
from agenttask.logtool.desk import Desk, UsageError
from agenttask.logtool.place import Place
from agenttask.logtool.runs import Listed, Run, glance
from agenttask.logtool.screen import age, size, story, table
from agenttask.logtool.story import tell
from agenttask.program.folder import put_back

KEEP_LAST: Final = 3
"""Snapshots that `prune` keeps if neither the task nor the person says how many."""


async def ls(desk: Desk) -> int:
    """The records of the log that was named, or the runs below a place."""
    logs = await desk.logs()
    if desk.place.path in logs:
        return await _ls_records(desk, desk.place.path)
    if desk.place.task is not None:
        raise NotFound(f"there is no log at {desk.place.address(desk.place.path)} yet")
    return await _ls_runs(desk, logs)


async def _ls_runs(desk: Desk, logs: Mapping[str, Listed]) -> int:
    runs = []
    looks = (partial(glance, each, records=records, store=desk.patient) for each, records in logs.items())
    async with aclosing(in_order(looks)) as glances:
        async for run in glances:
            runs.append(run)
            desk.screen.count(len(runs), len(logs))
    desk.screen.clear()
    if desk.output == "json":
        desk.screen.json({"runs": [_run(run, address=desk.place.address(run.path)) for run in runs]})
        return 0
    titles = ["RUN", "RECORDS", "ATTEMPT", "STEP", "STATE", "SIZE", "AGE", "ADDRESS"]
    rows = []
    for run in runs:
        name = run.path.removeprefix(f"{desk.place.path}/")
        facts: list[object] = ["?", "?", "damaged", size(run.size), "?"]
        if isinstance(run.newest, Record):
            last = run.newest
            over = "over" if last.kind is Kind.FINAL else "purged" if purged.purge_in(last) else "open"
            facts = [last.attempt, _step(last), over, size(run.size), age(last.time, now=desk.clock.now())]
        rows.append([name, run.records, *facts, desk.place.address(run.path)])
    desk.screen.say(_columns(titles, rows, wide=desk.output == "wide", narrow=7))
    return 0


def _run(run: Run, *, address: str) -> dict[str, Any]:
    last = run.newest
    newest = view.bad(last) if isinstance(last, Bad) else view.checkpoint(last, task=_task(run.path))
    return {"log": run.path, "address": address, "records": run.records, "sizeBytes": run.size, "newest": newest}


async def _ls_records(desk: Desk, log: str) -> int:
    shown: list[dict[str, Any]] = []
    rows: list[list[object]] = []
    task, now = _task(log), desk.clock.now()
    newest: Record | None = None
    async with aclosing(_each_record(desk, log)) as records:
        async for each in records:
            if isinstance(each, Bad):
                shown.append(view.bad(each))
                rows.append([each.seq, "?", "?", "damaged", "?", "?", "", "", "", "", "", each.why])
                continue
            task = each.task or task
            shown.append(view.checkpoint(each, task=task))
            ref = each.ref
            kind = "purge" if each.purges else ref.kind
            seen = [size(ref.size_bytes), age(ref.time, now=now)]
            meta = [ref.id, ref.time, ref.parent_id or "", ref.retry, ref.digest, _note(each)]
            rows.append([ref.seq, ref.attempt, _step(each), kind, *seen, *meta])
            newest = each
    desk.screen.clear()
    if newest is not None and newest.purges:
        desk.screen.warn(purged.words(newest))
    if desk.output == "json":
        desk.screen.json({"log": log, "address": desk.place.address(log), "task": task, "records": shown})
    else:
        titles = ["SEQ", "ATTEMPT", "STEP", "KIND", "SIZE", "AGE", "ID", "TIME", "PARENT", "RETRY", "DIGEST", "NOTE"]
        desk.screen.say(_columns(titles, rows, wide=desk.output == "wide", narrow=6))
    return 1 if any("problem" in each for each in shown) else 0


async def show(desk: Desk) -> int:
    """The conversation, with what happened in between."""
    log = await desk.log()
    found = await desk.restored(log)
    before, after = state_of(base=found.base, records=()), found.base.ref.seq if found.base else 0
    async with aclosing(_each_record(desk, log, upto=after)) as records:
        claims = [each async for each in records if isinstance(each, Record) and each.kind is Kind.CLAIM]
    desk.screen.clear()
    entries = tell(state=before, after=after, records=found.records, claims=claims)
    if desk.output == "json":
        desk.screen.json({"log": log, "entries": [view.plain(entry) for entry in entries]})
    else:
        for entry in entries:
            desk.screen.say(story(entry, full=desk.full))
    return desk.lost(found)


async def verify(desk: Desk) -> int:
    """Everything that is wrong, or that nothing is."""
    log = await desk.log()
    purge = await purged.purge_of(log, store=desk.patient)
    if purge is not None:
        return await _verify_purged(desk, log, purge)
    found = await desk.survey(log)
    desk.screen.clear()
    problems = [*found.problems, *_contradictions(found, desk.place)]
    restored = found.restored
    if restored is not None:
        try:
            state_of(base=restored.base, records=restored.records)
        except FormatTooNew as error:
            problems.append(str(error))
    tip = restored.tip if restored is not None else None
    stored = sum((await _sizes(desk, found)).values())
    if desk.output == "json":
        desk.screen.json(
            {
                "log": log,
                "problems": problems,
                "records": len(found.records),
                "snapshots": len(found.snapshots),
                "blobs": len(found.blobs),
                "unnamed": list(found.unnamed),
                "sizeBytes": stored,
                "restorable": view.checkpoint(tip, task=_task(log)) if tip else None,
                "purge": None,
            }
        )
    else:
        for problem in problems:
            desk.screen.say(problem)
        newest = f"the newest state is that after record {tip.seq}, step {_step(tip)}" if tip else "no state is left"
        unnamed = f" ({len(found.unnamed)} of no use)" if found.unnamed else ""
        counts = [_count(found.records, "record"), _count(found.snapshots, "snapshot"), _count(found.blobs, "blob")]
        desk.screen.say(f"{', '.join(counts)}{unnamed}, {size(stored)}: {_count(problems, 'problem')}; {newest}")
    return 1 if problems else 0


async def _verify_purged(desk: Desk, log: str, purge: Record) -> int:
    """Of a log that was purged, nothing but claims is to be left."""
    left = await _remains(desk, log)
    problems = [each.why for each in left.unreadable]
    if left.doomed:
        what = _count(left.doomed, "object")
        problems.append(f"{what} that the purge was to remove: `agenttask log prune` names them")
    stored = sum(left.sizes.values())
    if desk.output == "json":
        desk.screen.json(
            {
                "log": log,
                "problems": problems,
                "records": len(left.claims) + len(left.unreadable),
                "left": list(left.doomed),
                "sizeBytes": stored,
                "restorable": None,
                "purge": view.checkpoint(purge, task=purge.task or _task(log)),
            }
        )
    else:
        for problem in problems:
            desk.screen.say(problem)
        counts = f"{_count(left.claims, 'claim')} left, {size(stored)}"
        desk.screen.say(f"{purged.words(purge)}: {counts}: {_count(problems, 'problem')}")
    return 1 if problems else 0


async def _remains(desk: Desk, log: str) -> purged.Remains:
    left = await purged.remains_of(
        log, store=desk.store, clock=desk.clock, patience=desk.patience, progress=desk.screen.count
    )
    desk.screen.clear()
    return left


async def restore(desk: Desk) -> int:
    """A state as JSON, and a program's folder as files."""
    log = await desk.log()
    found, state = await desk.read(log)
    tip = found.tip
    if desk.files is not None:
        await _put_files(desk, log, found, state)
    desk.screen.json({"checkpoint": view.checkpoint(tip, task=_task(log)) if tip else None, "state": view.state(state)})
    return desk.lost(found)


async def _put_files(desk: Desk, log: str, found: Restored, state: State) -> None:
    if state.program is None or desk.files is None:
        raise UsageError("--files is for the run of a program: this one is an agent's")
    refs, keys = attached_to(found), Keys(prefix=log)
    try:
        desk.files.mkdir()
    except OSError as error:
        raise UsageError(f"--files must name a folder that is not there yet: {error}") from error
    await put_back(
        state.program.items,
        root=desk.files,
        read=lambda content: read_blob(refs[content], store=desk.patient, keys=keys),
    )


async def result(desk: Desk) -> int:
    """The whole answer."""
    log = await desk.log()
    found, state = await desk.read(log)
    if found.final is None or state.ended is None:
        code = desk.lost(found)
        waits = f"; it waits: {state.wait.parked.message}" if state.wait is not None else ""
        desk.screen.warn(f"the run is not over: it is at step {_step(found.tip) if found.tip else 0}{waits}")
        return code or 1
    ended = state.ended
    if desk.output == "json":
        facts = {"outcome": ended.outcome, "reason": ended.reason, "message": ended.message, "answer": ended.answer}
        desk.screen.json({"log": log, **facts, "key": found.final.key})
    else:
        if ended.answer:
            desk.screen.say(ended.answer.rstrip("\n"))
        if ended.outcome != "Completed":
            desk.screen.warn(f"{ended.outcome}, {ended.reason}: {ended.message}")
    return desk.lost(found) or (0 if ended.outcome == "Completed" else 1)


async def prune(desk: Desk) -> int:
    """What nobody needs any more: named, or deleted."""
    log = await desk.log()
    keys, sizes, over = await _prunable(desk, log)
    total = sum(sizes.get(key, 0) for key in keys)
    if desk.yes:
        async with aclosing(in_order(partial(desk.patient.delete, key) for key in keys)) as deleted:
            done = 0
            async for _ in deleted:
                done += 1
                desk.screen.count(done, len(keys))
        desk.screen.clear()
    if desk.output == "json":
        objects = [{"key": key, "sizeBytes": sizes.get(key, 0)} for key in keys]
        desk.screen.json({"log": log, "deleted": desk.yes, "over": over, "objects": objects, "sizeBytes": total})
        return 0
    if not desk.yes:
        for key in keys:
            desk.screen.say(f"{key}   {size(sizes.get(key, 0))}")
    what = "deleted" if desk.yes else "to delete, with --yes"
    kept = "" if over else "; blobs and what is newest stay, since the run is not over"
    desk.screen.say(f"{_count(keys, 'object')}, {size(total)}, {what}{kept}")
    return 0


async def _prunable(desk: Desk, log: str) -> tuple[Sequence[str], Mapping[str, int], bool]:
    """The keys of what goes, the bytes of all there is, and whether the run is over."""
    if purge := await purged.purge_of(log, store=desk.patient):
        desk.screen.warn(purged.words(purge))
        left = await _remains(desk, log)
        return left.doomed, left.sizes, True
    found = await desk.survey(log)
    desk.screen.clear()
    if found.problems:
        for problem in found.problems:
            desk.screen.warn(problem)
        raise CheckpointCorrupt("nothing of a damaged log is pruned", key=log)
    known = desk.place.task
    keep_last = desk.keep_last or (known.keep_last if known else KEEP_LAST)
    over = found.restored is not None and found.restored.final is not None
    return prunable(found, keep_last=keep_last), await _sizes(desk, found), over


COMMANDS: Final[dict[str, Callable[[Desk], Awaitable[int]]]] = {
    "ls": ls,
    "show": show,
    "verify": verify,
    "restore": restore,
    "result": result,
    "prune": prune,
}


def _each_record(desk: Desk, log: str, *, upto: int | None = None) -> AsyncGenerator[Record | Bad, None]:
    return each_record(
        store=desk.store,
        prefix=log,
        clock=desk.clock,
        patience=desk.patience,
        upto=upto,
        progress=desk.screen.count,
    )


def _contradictions(found: Survey, place: Place) -> list[str]:
    """Where the task's status knows better than the log, whose own end nothing else vouches for."""
    if place.task is None or (said := place.task.checkpoint) is None:
        return []
    head = max((each.seq for each in found.records if isinstance(each, Record)), default=0)
    if head < said.seq:
        return [f"record {said.key} is missing: the task's status names it, and the log ends with record {head}"]
    for each in found.records:
        if isinstance(each, Record) and each.seq == said.seq and each.digest != said.digest:
            return [f"record {each.key} is another one than the task's status names"]
    return []


async def _sizes(desk: Desk, found: Survey) -> dict[str, int]:
    records, snapshots = [
        await desk.patient.list(folder, after=None) for folder in (found.keys.records, found.keys.snapshots)
    ]
    return {entry.key: entry.size for entry in (*records, *snapshots, *found.blobs, *found.lates)}


def _columns(titles: list[str], rows: list[list[object]], *, wide: bool, narrow: int) -> str:
    width = len(titles) if wide else narrow
    return table(titles[:width], [row[:width] for row in rows])


def _task(log: str) -> str:
    """Whose log it is, by where it lies: …/<namespace>/<task>/<uid>."""
    return "/".join(log.split("/")[-3:-1])


def _count(things: Sequence[object], what: str) -> str:
    return f"{len(things) or 'no'} {what}{'' if len(things) == 1 else 's'}"


def _step(record: Record) -> str:
    return f"{record.step}/{record.max_steps}" if record.max_steps else str(record.step)


def _note(record: Record) -> str:
    notes = [f"pod {record.holder.pod_uid}"] if record.kind is Kind.CLAIM else []
    if (left := record.abandoned) is not None:
        notes.append(f"leaves {left.first} to {left.last}: {left.why}")
    notes += [f"damage: {sentence}" for sentence in record.damage]
    if (origin := record.origin) is not None:
        notes.append(f"fork of {origin.log} after {origin.seq}")
    if record.snapshot is not None and record.snapshot.seq:
        notes.append(f"names the snapshot after {record.snapshot.seq}")
    return "; ".join(notes)
