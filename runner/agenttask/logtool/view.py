"""Pure: records and states as JSON for scripts, in the names that the task's status uses."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from agenttask.agent.state import State
from agenttask.log import Bad, Record

_OURS: Final = ("attempts", "calls", "inherited", "program")
"""Parts of a state whose own fields are renamed too; the rest are the model's words."""


def checkpoint(record: Record, *, task: str) -> dict[str, Any]:
    """What the article shows of a checkpoint: id, task, time, step, total steps, chained digest, parent, retries."""
    ref = record.ref
    shown: dict[str, Any] = {
        "seq": ref.seq,
        "id": ref.id,
        "key": ref.key,
        "task": task,
        "time": ref.time,
        "attempt": ref.attempt,
        "step": ref.step,
        "maxSteps": ref.max_steps,
        "kind": str(ref.kind),
        "digest": ref.digest,
        "progressDigest": ref.progress_digest,
        "parentID": ref.parent_id,
        "retry": ref.retry,
        "sizeBytes": ref.size_bytes,
        "holder": msgspec.to_builtins(record.holder),
    }
    for name in ("snapshot", "abandoned", "origin"):
        if (value := getattr(record, name)) is not None:
            shown[name] = msgspec.to_builtins(value)
    if record.purges:
        shown["purge"] = True
    if record.damage:
        shown["damage"] = list(record.damage)
    if record.blobs:
        shown["blobs"] = sorted({placed.blob.name for placed in record.blobs})
    return shown


def bad(found: Bad) -> dict[str, Any]:
    """A record that cannot be read."""
    return {"seq": found.seq, "key": found.key, "problem": found.why}


def plain(value: msgspec.Struct) -> dict[str, Any]:
    """A struct in JSON values."""
    shown: dict[str, Any] = msgspec.to_builtins(value)
    return shown


def state(state: State) -> dict[str, Any]:
    """A state, but for what can be worked out from its conversation."""
    fields = plain(msgspec.structs.replace(state, conversation=(), provider_ids=frozenset()))
    del fields["provider_ids"]
    fields["conversation"] = list(state.conversation)
    return {_camel(name): _renamed(value) if name in _OURS else value for name, value in fields.items()}


def _renamed(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_renamed(each) for each in value]
    return {_camel(name): each for name, each in value.items()} if isinstance(value, dict) else value


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
