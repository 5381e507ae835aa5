"""What the first attempt of a fork does before it claims: read the state it begins with out of the original's log.

Changes nothing there, and needs it never again: the seed is copied under the fork's own prefix, and record 1 names it.
"""

from __future__ import annotations

from agenttask.agent.fork import forked
from agenttask.clock import Clock
from agenttask.contract import ForkedFrom, TaskSpec
from agenttask.errors import CheckpointCorrupt, CheckpointGone, CheckpointLost, SpecInvalid
from agenttask.journal import frozen, restore
from agenttask.log import Origin, Patience, Seed, read
from agenttask.store import Store


async def seed(
    *, store: Store, origin: ForkedFrom, spec: TaskSpec, prompt: str | None, clock: Clock, patience: Patience
) -> Seed:
    """The state after the record `origin` names, as this fork goes on from it with `prompt`.

    Raises `CheckpointGone` if that state cannot be had (any more), `SpecInvalid` if no work is in it, `FormatTooNew`
    and store errors.
    """
    log = origin.key.rpartition("/log/")[0]
    try:
        found = await read(store=store, prefix=log, clock=clock, patience=patience, at=origin.seq)
    except (CheckpointLost, CheckpointCorrupt) as error:
        raise CheckpointGone(f"the checkpoint {origin.key} cannot be copied: {error}") from error
    if found.tip is None:
        raise AssertionError("the state after a record has that record as its tip")
    state = restore(base=found.base, records=found.records)
    if not state.started:
        raise SpecInvalid(f"nothing had begun at {origin.key} (spec.resumeFrom.key): name a later record")
    if state.program is not None:
        raise SpecInvalid(
            f"{origin.key} is of a program (spec.resumeFrom.key), and there is no conversation to go on with"
        )
    results = spec.resume_from is None or "Results" in spec.resume_from.parts
    return Seed(
        origin=Origin(log=log, seq=origin.seq, digest=found.tip.digest, about={"task": origin.task, "uid": origin.uid}),
        state=frozen(forked(state, prompt=prompt, results=results)),
        max_steps=spec.budget.steps,
    )
