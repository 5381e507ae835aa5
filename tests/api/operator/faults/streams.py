"""What may become of an operator's watches, and of what it is shown first: plans for whole processes.

A watch is a stream of lines, an event each. Events are counted per kind of object, over all streams of that kind; an
object of a `kind` is a `pod` or an `agenttask`. Whatever is kept from the operator here, its resyncs see.
"""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from typing import Any, Final

from tests.api.operator.faults.plans import MODES, Plan
from tests.api.operator.faults.proxy import Call, Fate, StreamCut

KINDS: Final = ("agenttask", "pod")
EXPIRED: Final = json.dumps(
    {
        "type": "ERROR",
        "object": {
            "kind": "Status",
            "apiVersion": "v1",
            "status": "Failure",
            "message": "too old resource version",
            "reason": "Expired",
            "code": 410,
        },
    }
).encode()
FIRST_LISTS: Final = {"read agenttask": 5, "read pod": 3}
"""With how many a process begins: those of both watches and of two resyncs, and of tasks those of its checks."""
LONG_AGO: Final = 20
"""Before how many writes, of all tasks, a first list goes back."""


class Silent:
    """The connection stays open and nothing comes any more, from the event of this number on."""

    def __init__(self, kinds: Collection[str], *, from_event: int) -> None:
        self._kinds = kinds
        self._from = from_event
        self._count: Counter[str] = Counter()

    def __call__(self, kind: str, line: bytes) -> list[bytes]:
        self._count[kind] += 1
        return [] if kind in self._kinds and self._count[kind] >= self._from else [line]


class Collapsed:
    """Events come late, so many at a time, and of each object the last one alone; the last few never."""

    def __init__(self, *, at_a_time: int) -> None:
        self._at_a_time = at_a_time
        self._kept: dict[str, list[bytes]] = defaultdict(list)

    def __call__(self, kind: str, line: bytes) -> list[bytes]:
        kept = self._kept[kind]
        kept.append(line)
        if len(kept) < self._at_a_time:
            return []
        last = {_uid(one): one for one in kept}
        kept.clear()
        return list(last.values())


class Torn:
    """Each n-th event breaks the connection, or ends the answer, in the midst of its line."""

    def __init__(self, *, each: int, broken: bool) -> None:
        self._each = each
        self._broken = broken
        self._count: Counter[str] = Counter()

    def __call__(self, kind: str, line: bytes) -> list[bytes]:
        self._count[kind] += 1
        if self._count[kind] % self._each == 0:
            raise StreamCut(line[: len(line) // 2], broken=self._broken)
        return [line]


class Gone:
    """In the place of each n-th event the server says 410: in the stream, or to who asks for the next one."""

    def __init__(self, *, each: int, in_stream: bool) -> None:
        self._each = each
        self._in_stream = in_stream
        self._count: Counter[str] = Counter()
        self._due: set[str] = set()

    def __call__(self, kind: str, line: bytes) -> list[bytes]:
        self._count[kind] += 1
        if self._count[kind] % self._each:
            return [line]
        if not self._in_stream:
            self._due.add(kind)
        raise StreamCut(EXPIRED + b"\n" if self._in_stream else b"", broken=False)

    def judge(self, call: Call) -> Fate:
        """The answer to who asks for the next stream."""
        kind = call.name.removeprefix("watch ")
        if call.name.startswith("watch") and kind in self._due:
            self._due.remove(kind)
            return Fate.GONE
        return Fate.PASS


class AtWrites:
    """Each task's writes of these numbers meet a fate; a next process is first shown the past by lists of these kinds.

    Args:
        numbers: of a task's writes, from 1.
        fate: what becomes of them: one for all, or else each of `MODES` in turns.
        past: kinds of objects.
    """

    def __init__(self, *numbers: int, fate: Fate | None = None, past: Collection[str] = ()) -> None:
        self._fates = {number: fate or MODES[turn % len(MODES)] for turn, number in enumerate(numbers)}
        self._past = past
        self._count: Counter[str] = Counter()
        self._left: Counter[str] = Counter()

    def __call__(self, call: Call) -> Fate:
        if call.write is not None and call.task:
            self._count[call.task] += 1
            fate = self._fates.get(self._count[call.task])
            if fate is not None:
                self._left.update({f"read {kind}": FIRST_LISTS[f"read {kind}"] for kind in self._past})
                return fate
        if self._left[call.name] and not call.task:
            self._left[call.name] -= 1
            return Fate.STALE
        return Fate.PASS


class Mixed:
    """Any of it, and storms, at any request and event, by a seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def judge(self, call: Call) -> Fate:
        """What becomes of a request. The lease is left alone: who loses it works no worse, only later."""
        chance = self._random.random()
        if "lease" in call.name or chance > 0.2:
            return Fate.PASS
        if call.write is not None:
            return self._random.choice(MODES if chance < 0.02 else _STORMS)
        if call.name.startswith("watch"):
            return self._random.choice((*_STORMS, Fate.GONE))
        # What is read by name is never so old.
        return self._random.choice(_STORMS if call.task else (*_STORMS, Fate.STALE))

    def __call__(self, kind: str, line: bytes) -> list[bytes]:
        chance = self._random.random()
        if chance < 0.03:
            raise StreamCut(line[: len(line) // 2], broken=True)
        if chance < 0.05:
            raise StreamCut(EXPIRED + b"\n", broken=False)
        if chance < 0.2:
            return []
        return [line, line] if chance < 0.25 else [line]


_STORMS: Final = (Fate.RESET, Fate.BUSY, Fate.DOWN)


def silent_plans() -> Iterator[Plan]:
    """Silence from the start, and from the midst of things."""
    for kinds in (KINDS, *((kind,) for kind in KINDS)):
        for event in (1, 25):
            detail = f"{' and '.join(kinds)}, from event {event} on"
            yield Plan(name="silent watch", detail=detail, lines=Silent(kinds, from_event=event))


def stream_plans() -> Iterator[Plan]:
    """Everything else that a stream may do."""
    for number in (4, 15):
        yield Plan(name="collapsed events", detail=f"{number} at a time", lines=Collapsed(at_a_time=number))
    for each in (3, 20):
        for in_stream in (True, False):
            gone = Gone(each=each, in_stream=in_stream)
            detail = f"each event {each}, {'in the stream' if in_stream else 'as a status'}"
            yield Plan(name="410", detail=detail, judge=gone.judge, lines=gone)
    for each in (3, 20):
        for broken in (True, False):
            detail = f"each event {each}, {'broken' if broken else 'ended'}"
            yield Plan(name="torn line", detail=detail, lines=Torn(each=each, broken=broken))


def killed_plans(*, most: int) -> Iterator[Plan]:
    """Each task's n-th write up to this one, in turns before, lost and after."""
    for number in range(1, most + 1):
        fate = MODES[number % 3]
        yield Plan(name="SIGKILL", once=True, detail=f"write {number} {fate}", judge=AtWrites(number, fate=fate))


def killed_again_and_again(*, most: int) -> Plan:
    """All in one life: at each third write of each task."""
    return Plan(name="SIGKILL", detail="each third write", judge=AtWrites(*range(2, most + 1, 3)))


def stale_plans(*, most: int) -> Iterator[Plan]:
    """Killed at each third write, and the next process shown the past."""
    for number in range(2, most + 1, 3):
        fate = MODES[number // 3 % 3]
        yield stale_plan(KINDS[number % 2 :], number=number, fate=fate)


def stale_plan(kinds: Collection[str], *, number: int, fate: Fate) -> Plan:
    """Killed at that write, and then shown the past by the first lists; no watch tells better of the pods."""
    killed = AtWrites(number, fate=fate, past=kinds)
    detail = f"of {' and '.join(kinds)}, after write {number} {fate}"
    return Plan(name="stale first lists", detail=detail, judge=killed, lines=Silent(["pod"], from_event=1), past=True)


def mixed_process_plan(seed: int) -> Plan:
    """All of it at once."""
    mixed = Mixed(seed)
    return Plan(name="random watches", detail=f"SEED={seed}", judge=mixed.judge, lines=mixed, past=True)


def _uid(line: bytes) -> Any:
    return json.loads(line)["object"]["metadata"].get("uid")
