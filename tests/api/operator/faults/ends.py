"""What lives are compared by: how a task ends, and how it is each time nothing is to be done, without what is new."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from agenttask import contract

from tests.api.client import Object

_COMPARED: Final = ("phase", "reason", "attempt", "counts", "unreported", "observedGeneration")


def normalised(task: Object, *, name: str) -> Object:
    """A task's end without what is new in each run: names, UIDs, times."""
    status = task.get("status", {})
    attempts = [
        {key: one.get(key) for key in ("attempt", "outcome", "reason", "resumedFrom")}
        | {"pod": one["pod"].replace(name, "t")}
        for one in status.get("attempts", [])
    ]
    return {
        **{key: status.get(key) for key in _COMPARED},
        "failures": status.get("retry", {}).get("failures"),
        "attempts": attempts,
        "conditions": {one["type"]: (one["status"], one["reason"]) for one in status.get("conditions", [])},
        "podUID": "podUID" in status,
    }


def resting(task: Object | None, *, name: str, pods: Iterable[Object]) -> Object:
    """A task that nothing is to be done about, and its own pods; empty where there is no task."""
    if task is None:
        return {}
    meta = task["metadata"]
    own = [
        (
            int(one["metadata"]["labels"][contract.LABEL_ATTEMPT]),
            "deletionTimestamp" in one["metadata"],
            one.get("status", {}).get("phase"),
        )
        for one in pods
        if [owner["uid"] for owner in one["metadata"].get("ownerReferences", [])] == [meta["uid"]]
    ]
    return {**normalised(task, name=name), "deleted": "deletionTimestamp" in meta, "pods": sorted(own)}


def unlike(want: Any, got: Any, *, at: str = "") -> Iterator[str]:
    """Where one differs from the other, a line each."""
    if isinstance(want, dict) and isinstance(got, dict):
        for key in sorted(want.keys() | got.keys()):
            yield from unlike(want.get(key), got.get(key), at=f"{at}.{key}")
    elif isinstance(want, list) and isinstance(got, list) and len(want) == len(got):
        for number, (one, other) in enumerate(zip(want, got, strict=True)):
            yield from unlike(one, other, at=f"{at}[{number}]")
    elif want != got:
        yield f"{at} {want} became {got}"
