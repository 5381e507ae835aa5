"""One record as bytes: what is written is read back, and anything else is noticed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
import zstandard
from agenttask.errors import CheckpointCorrupt, FormatTooNew, RecordTooLarge
from agenttask.log import record as records
from agenttask.log.record import MAX_RECORD_BYTES, NO_PROGRESS, Draft, Holder, Kind, Record, build, parse

EMPTY = zstandard.compress(b"[]")
KEY = "ns/task/uid/log/000000000001"
NOW = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)


def draft(events: list[dict[str, Any]], *, parent: Record | None = None, **change: Any) -> Draft:
    fields: dict[str, Any] = {
        "key": KEY,
        "seq": 1 if parent is None else parent.seq + 1,
        "parent": parent,
        "kind": Kind.EVENTS,
        "attempt": 3,
        "holder": Holder(pod_uid="pod", process="p"),
        "now": NOW,
        "step": 4,
        "max_steps": 50,
        "retry": 2,
        "events": events,
    }
    return build(**(fields | change))


def forged(header: dict[str, Any], packed: bytes, **change: Any) -> bytes:
    """A record whose digests match whatever is in it."""
    header = header | {"bodyDigest": hashlib.sha256(packed).hexdigest()} | change
    line = json.dumps(header).encode()
    return b"\n".join((line, hashlib.sha256(line).hexdigest().encode(), packed))


def header_of(body: bytes) -> dict[str, Any]:
    header: dict[str, Any] = json.loads(body.partition(b"\n")[0])
    return header


def flipped(body: bytes, at: int) -> bytes:
    return body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]


def test_a_record_reads_back_as_it_was_written() -> None:
    events: list[dict[str, Any]] = [
        {"text": "Ω\n\ud800", "n": 10**30, "x": 1e-7, "nested": {"a": [None, True]}},
        {"empty": {}},
    ]
    written = draft(events)
    read = parse(key=KEY, seq=1, body=written.body)
    assert read == written.record
    assert list(read.events) == events
    assert (read.time, read.step, read.max_steps, read.retry) == ("2026-01-02T03:04:05.678Z", 4, 50, 2)
    assert read.size_bytes == len(written.body)


def test_the_id_is_the_number_and_twelve_digits_of_the_digest() -> None:
    first = draft([]).record
    second = draft([], parent=first).record
    assert first.ref.id == f"1-{first.digest[:12]}"
    assert (first.ref.parent_id, second.ref.parent_id) == (None, first.ref.id)


def test_times_are_written_in_utc() -> None:
    east = NOW.astimezone(timezone(timedelta(hours=8)))
    assert draft([], now=east).record.time == "2026-01-02T03:04:05.678Z"


def test_every_flipped_bit_of_a_record_is_noticed() -> None:
    body = draft([{"text": "hello"}]).body
    for at in range(len(body)):
        with pytest.raises(CheckpointCorrupt) as caught:
            parse(key=KEY, seq=1, body=flipped(body, at))
        assert caught.value.key == KEY


def test_every_cut_record_is_noticed() -> None:
    body = draft([{"text": "hello"}]).body
    for length in range(len(body)):
        with pytest.raises(CheckpointCorrupt):
            parse(key=KEY, seq=1, body=body[:length])


def _bomb(header: dict[str, Any]) -> bytes:
    """More spaces than a reader may be made to hold, in a few KiB, rightly declared."""
    events = b"[" + b" " * MAX_RECORD_BYTES + b"]"
    return forged(header, zstandard.compress(events), bodyBytes=len(events))


def _undeclared(header: dict[str, Any]) -> bytes:
    return forged(header, zstandard.ZstdCompressor(write_content_size=False).compress(b"[]"), bodyBytes=2)


FORGERIES: dict[str, Callable[[dict[str, Any]], bytes]] = {
    "a body that would fill the memory": _bomb,
    "a body of undeclared size": _undeclared,
    "a body that is larger than the header says": lambda h: forged(h, zstandard.compress(b"[{}]"), bodyBytes=2),
    "bytes behind the body": lambda h: forged(h, zstandard.compress(b"[]") + b"x", bodyBytes=2),
    "a body that is not compressed": lambda h: forged(h, b"[]", bodyBytes=2),
    "a body that is no JSON": lambda h: forged(h, zstandard.compress(b"]["), bodyBytes=2),
    "a body nested without end": lambda h: forged(h, zstandard.compress(b"[" * 10**6), bodyBytes=10**6),
    "a body that is no list": lambda h: forged(h, zstandard.compress(b"{}"), bodyBytes=2),
    "an event that is no object": lambda h: forged(h, zstandard.compress(b"[1]"), bodyBytes=3),
    "a header without a field": lambda h: forged({k: v for k, v in h.items() if k != "attempt"}, EMPTY),
    "a header of another kind": lambda h: forged(h, EMPTY, kind="snapshot"),
    "another record's number": lambda h: forged(h, EMPTY, seq=2),
}


@pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES.keys())
def test_a_forged_record_is_refused(forge: Callable[[dict[str, Any]], bytes]) -> None:
    with pytest.raises(CheckpointCorrupt):
        parse(key=KEY, seq=1, body=forge(header_of(draft([]).body)))


def test_a_newer_format_is_told_from_damage_and_a_newer_field_is_ignored() -> None:
    header = header_of(draft([]).body)
    with pytest.raises(FormatTooNew, match="format 2; this version reads up to 1"):
        parse(key=KEY, seq=1, body=forged({"format": 2, "anything": "else"}, b"?"))
    parse(key=KEY, seq=1, body=forged(header | {"later": 1}, EMPTY))


def test_what_could_not_be_restored_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MAX_RECORD_BYTES", 1000)
    with pytest.raises(RecordTooLarge):
        draft([{"text": "x" * 1000}])
    with pytest.raises(ValueError, match="JSON compliant"):
        draft([{"x": float("nan")}])
    assert MAX_RECORD_BYTES == 16 * 2**20


def test_the_progress_digest_follows_the_work_and_nothing_else() -> None:
    def run(*, who: str, ms: int, answer: str) -> Record:
        holder = Holder(pod_uid=who, process=who)
        claim = draft([], kind=Kind.CLAIM, holder=holder).record
        assert claim.progress_digest == NO_PROGRESS
        one = draft([{"answer": answer, "volatile": {"ms": ms}}], parent=claim, holder=holder, step=ms).record
        return draft([], kind=Kind.CLAIM, parent=one, now=NOW + timedelta(seconds=ms)).record

    undisturbed = run(who="a", ms=5, answer="42").progress_digest
    assert run(who="b", ms=9, answer="42").progress_digest == undisturbed
    assert run(who="a", ms=5, answer="43").progress_digest != undisturbed


def test_the_header_is_one_readable_line() -> None:
    line = draft([]).body.partition(b"\n")[0]
    assert msgspec.json.decode(line)["holder"] == {"podUID": "pod", "process": "p"}
