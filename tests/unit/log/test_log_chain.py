"""Which records continue a log, whatever their own digests say."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

import pytest
from agenttask.log.chain import GENESIS, assemble
from agenttask.log.keys import Keys
from agenttask.log.record import Holder, Kind, Record, build


class By(NamedTuple):
    """Who writes what."""

    kind: Kind
    attempt: int
    process: str = "p"


def chained(*, after: list[Record], by: By) -> Record:
    seq = len(after) + 1
    return build(
        key=f"log/{seq}",
        seq=seq,
        parent=after[-1] if after else None,
        kind=by.kind,
        attempt=by.attempt,
        holder=Holder(pod_uid=f"pod-{by.attempt}", process=by.process),
        now=datetime(2026, 1, 1, tzinfo=UTC),
        step=0,
        max_steps=0,
        retry=0,
        events=(),
    ).record


CLAIM, EVENTS = Kind.CLAIM, Kind.EVENTS
CHAINS: dict[str, tuple[list[By], By, str | None]] = {
    "a holder goes on": ([By(CLAIM, 1), By(EVENTS, 1)], By(EVENTS, 1), None),
    "a successor claims": ([By(CLAIM, 1), By(EVENTS, 1)], By(CLAIM, 2), None),
    "another process of the pod claims": ([By(CLAIM, 1)], By(CLAIM, 1, "q"), None),
    "an older attempt claims": ([By(CLAIM, 2)], By(CLAIM, 1), "older attempt"),
    "an attempt that was followed writes on": ([By(CLAIM, 1), By(CLAIM, 2)], By(EVENTS, 1), "holder"),
    "a process that was followed writes on": ([By(CLAIM, 1), By(CLAIM, 1, "q")], By(EVENTS, 1), "holder"),
    "a newer attempt writes without a claim": ([By(CLAIM, 1)], By(EVENTS, 2), "holder"),
    "a log without a claim": ([], By(EVENTS, 1), "holder"),
}


@pytest.mark.parametrize(("before", "by", "wrong"), CHAINS.values(), ids=CHAINS.keys())
def test_what_continues_a_log(before: list[By], by: By, wrong: str | None) -> None:
    records: list[Record] = []
    for each in [*before, by]:
        records.append(chained(after=records, by=each))
    chain = assemble(base=GENESIS, head=len(records), found={record.seq: record for record in records}, task=None)
    if wrong is None:
        assert list(chain.records) == records
    else:
        assert list(chain.records) == records[:-1]
        assert [bad.seq for bad in chain.misfits] == [len(records)]
        assert wrong in chain.misfits[0].why


KEYS: dict[str, int | None] = {
    "p/log/000000000007": 7,
    "p/log/7": None,
    "p/log/0000000000007": None,
    "p/log/00000000000x": None,
    "p/log/00000000000\u0667": None,
}


@pytest.mark.parametrize(("key", "seq"), KEYS.items())
def test_only_twelve_digits_are_a_records_name(key: str, seq: int | None) -> None:
    assert Keys(prefix="p").seq(key) == seq
