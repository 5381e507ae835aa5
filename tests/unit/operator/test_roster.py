"""Which pods a reconcile reads by name."""

from __future__ import annotations

from typing import Any

import pytest
from agenttask_operator.observed import Pod, read_pod
from agenttask_operator.roster import Roster

from tests.unit.operator.builders import raw_pod


def pod(attempt: int = 1, *, of: str = "t", namespace: str = "n", **more: Any) -> Pod:
    return read_pod(raw_pod(attempt, of=of, namespace=namespace, **more))


def roster(*pods: Pod) -> Roster:
    """One that a listing has settled."""
    made = Roster()
    for one in pods:
        made.add(one)
    made.settle(before=frozenset(), listed={one.metadata.uid for one in pods})
    return made


def test_before_the_first_listing_nobody_knows() -> None:
    made = Roster()
    made.add(pod(1))
    assert made.of(namespace="n", task="t") is None


CASES: dict[str, tuple[list[Pod], set[str]]] = {
    "no pod": ([], set()),
    "two of its pods": ([pod(1), pod(2)], {"t-1", "t-2"}),
    "a pod twice is one": ([pod(1), pod(1)], {"t-1"}),
    "another task's pod": ([pod(of="u")], set()),
    "a task of the same name elsewhere": ([pod(1, namespace="m")], set()),
    "a pod that lost its label": ([pod(meta={"labels": {}})], set()),
}


@pytest.mark.parametrize(("shown", "want"), CASES.values(), ids=CASES.keys())
def test_what_was_shown_is_known(shown: list[Pod], want: set[str]) -> None:
    assert roster(*shown).of(namespace="n", task="t") == want


def test_a_deleted_pod_is_forgotten_and_one_of_the_same_name_is_not() -> None:
    made = roster(pod(1, uid="old"), pod(1, uid="new"))
    made.drop("old")
    assert made.of(namespace="n", task="t") == {"t-1"}
    made.drop("new")
    made.drop("new")
    assert made.of(namespace="n", task="t") == set()
    assert not made._names, "tasks come and go for as long as the operator runs"


def test_what_a_listing_lacks_is_gone_but_what_was_shown_during_it_stays() -> None:
    made = roster(pod(1), pod(2))
    before = made.known()
    made.add(pod(3))
    made.settle(before=before, listed={"uid-t-2"})
    assert made.of(namespace="n", task="t") == {"t-2", "t-3"}
