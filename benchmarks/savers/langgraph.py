"""LangGraph's savers under the same conversation: a real graph of a model node and a tool node, one thread.

The graph is what a LangGraph user writes; the model and the tool take their next line from the script. A checkpoint
is saved after each node, as LangGraph does by itself, and synchronously, as ours is. What a saver writes is counted as
the bytes it hands to its backend. `DeltaChannel` is LangGraph's newer, beta way to keep messages.

A plain messages channel is saved whole each time, so long conversations cannot be run to the end: beyond `FULL_STEPS`
the graph is set, every `SAMPLE_EVERY` steps, to the conversation so far, a few steps are run and measured, and bytes
are summed over what lies between (the note says "sampled").
"""

from __future__ import annotations

import itertools
import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, TypedDict

import msgspec
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage, ToolMessage, messages_to_dict
from langgraph.channels.delta import DeltaChannel
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import _messages_delta_reducer, add_messages

from benchmarks.savers.case import Case, peak_mib, times
from benchmarks.savers.conversation import PROMPT, SYSTEM, Step

FULL_STEPS: Final = 500
SAMPLE_EVERY: Final = 500
SAMPLE_STEPS: Final = 3


class _Plain(TypedDict):
    messages: Annotated[list[AnyMessage], add_messages]


class _Delta(TypedDict):
    messages: Annotated[list[AnyMessage], DeltaChannel(_messages_delta_reducer)]


def sqlite_saver(*, steps: Sequence[Step], folder: Path, delta: bool) -> Case:
    """Measure the SQLite saver on a file, with either kind of channel."""
    path = folder / "checkpoints.sqlite"
    connection = sqlite3.connect(path, check_same_thread=False)
    saver = SqliteSaver(connection)
    saver.setup()

    def written() -> int:
        checkpoints = "SELECT COALESCE(SUM(LENGTH(checkpoint) + LENGTH(metadata)), 0) FROM checkpoints"
        writes = "SELECT COALESCE(SUM(LENGTH(value)), 0) FROM writes"
        with saver.cursor(transaction=False) as cursor:
            return sum(cursor.execute(query).fetchone()[0] for query in (checkpoints, writes))

    def rows() -> int:
        with saver.cursor(transaction=False) as cursor:
            tables = ("checkpoints", "writes")
            return sum(cursor.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0] for table in tables)  # noqa: S608

    name = "LangGraph sqlite, DeltaChannel (beta)" if delta else "LangGraph sqlite"
    case = _measure(name, saver, steps, delta=delta, written=written, rows=rows)
    kept = sum(file.stat().st_size for file in folder.iterdir()) if not case.note else None
    connection.close()
    return msgspec.structs.replace(case, kept_bytes=kept)


def memory_saver(*, steps: Sequence[Step], delta: bool) -> Case:
    """Measure the in-memory saver: what it would write is what it keeps."""
    saver = InMemorySaver()

    def written() -> int:
        blobs = sum(len(body) for _, body in saver.blobs.values())
        writes = sum(len(each[2][1]) for thread in saver.writes.values() for each in thread.values())
        threads = (checkpoint for space in saver.storage.values() for checkpoint in space.values())
        return blobs + writes + sum(len(each[0][1]) + len(each[1][1]) for thread in threads for each in thread.values())

    def rows() -> int:
        return len(saver.blobs) + sum(map(len, saver.writes.values()))

    name = "LangGraph memory, DeltaChannel (beta)" if delta else "LangGraph memory"
    return _measure(name, saver, steps, delta=delta, written=written, rows=rows)


def _measure(
    name: str,
    saver: Any,
    steps: Sequence[Step],
    *,
    delta: bool,
    written: Callable[[], int],
    rows: Callable[[], int],
) -> Case:
    run = _Run(saver, steps, delta=delta)
    before_mib = peak_mib()
    full = delta or len(steps) <= FULL_STEPS
    if full:
        run.work(0, len(steps))
        total, note = written(), ""
    else:
        total, note = run.sampled(written), "sampled"
    used_mib = peak_mib() - before_mib
    began = time.perf_counter()
    messages = run.restored()
    restore_ms = 1000 * (time.perf_counter() - began)
    return Case(
        contender=name,
        steps=len(steps),
        state_bytes=len(json.dumps(messages_to_dict(messages)).encode()),
        written_bytes=total,
        kept_bytes=None,
        objects=rows() if full else None,
        **times(run.saves, per_step=2),
        restore_ms=round(restore_ms, 1),
        peak_mib=round(used_mib, 1),
        note=note,
    )


class _Run:
    """One thread of one graph, and the time its saver takes."""

    def __init__(self, saver: Any, steps: Sequence[Step], *, delta: bool) -> None:
        self.saves: list[float] = []
        """Milliseconds the saver took for each checkpoint, with the writes that belong to it."""
        self._pending = 0.0
        self._steps = steps
        self._until = 0
        self._next = 0
        self._saver = saver
        self._time("put", ends=True)
        self._time("put_writes", ends=False)
        graph = StateGraph(_Delta if delta else _Plain)
        graph.add_node("model", self._model)
        graph.add_node("tools", self._tools)
        graph.add_edge(START, "model")
        graph.add_edge("model", "tools")
        graph.add_conditional_edges("tools", lambda _: "model" if self._next < self._until else END)
        self._graph = graph.compile(checkpointer=saver)
        self._thread: Any = {"configurable": {"thread_id": "bench"}, "recursion_limit": 1_000_000}

    def work(self, start: int, until: int) -> None:
        """Run the steps from `start` up to `until`, from a conversation as it stands."""
        self._next, self._until = start, until
        begin = [SystemMessage(SYSTEM, id="system"), HumanMessage(PROMPT, id="prompt")] if start == 0 else []
        self._graph.invoke({"messages": begin}, self._thread, durability="sync")

    def sampled(self, written: Callable[[], int]) -> int:
        """Bytes of a whole run, from a few steps measured at many lengths."""
        points = [(0, 0.0)]
        self.work(0, SAMPLE_STEPS)
        for length in (*range(SAMPLE_EVERY, len(self._steps), SAMPLE_EVERY), len(self._steps)):
            start = length - SAMPLE_STEPS
            self._graph.update_state(self._thread, {"messages": self._messages(self._next, start)}, as_node="tools")
            before = written()
            self.saves.clear()
            self.work(start, length)
            points.append((length, (written() - before) / SAMPLE_STEPS))
        pairs = itertools.pairwise(points)
        return int(sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairs))

    def restored(self) -> list[AnyMessage]:
        """The conversation, as the next run would find it."""
        messages: list[AnyMessage] = self._graph.get_state(self._thread).values["messages"]
        return messages

    def _time(self, method: str, *, ends: bool) -> None:
        inner = getattr(self._saver, method)

        def timed(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            try:
                return inner(*args, **kwargs)
            finally:
                self._pending += 1000 * (time.perf_counter() - began)
                if ends:
                    self.saves.append(self._pending)
                    self._pending = 0.0

        setattr(self._saver, method, timed)

    def _messages(self, start: int, until: int) -> list[AnyMessage]:
        return [message for number in range(start, until) for message in self._pair(number)]

    def _pair(self, number: int) -> Iterator[AnyMessage]:
        step = self._steps[number]
        call = {"id": f"call_{number:024d}", "name": step.tool, "args": json.loads(step.arguments)}
        yield AIMessage(step.thought, id=f"reply-{number}", tool_calls=[call])
        yield ToolMessage(step.result, id=f"result-{number}", tool_call_id=call["id"])

    def _model(self, _: Any) -> dict[str, Any]:
        return {"messages": [next(self._pair(self._next))]}

    def _tools(self, _: Any) -> dict[str, Any]:
        result = list(self._pair(self._next))[1]
        self._next += 1
        return {"messages": [result]}
