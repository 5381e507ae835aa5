"""Which Redis servers may hold a checkpoint log, and what a write to each waits for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
from agenttask.errors import Misconfigured
from agenttask.store.redis_server import Facts, refuse_unfit

GOOD = Facts(version=(8, 0, 2), primary=True, cluster=False, memory_policy="noeviction", aof=True, syncs="always")
OLD = replace(GOOD, version=(7, 0, 15))

INFOS: dict[str, tuple[dict[str, Any], Facts]] = {
    "a primary with an append-only file": (
        {
            "redis_version": "8.0.2",
            "role": "master",
            "cluster_enabled": 0,
            "maxmemory_policy": "noeviction",
            "aof_enabled": 1,
        },
        GOOD.syncing(""),
    ),
    "a replica in a cluster that evicts": (
        {
            "redis_version": "6.2.14",
            "role": "slave",
            "cluster_enabled": 1,
            "maxmemory_policy": "allkeys-lru",
            "aof_enabled": 0,
        },
        Facts(version=(6, 2, 14), primary=False, cluster=True, memory_policy="allkeys-lru", aof=False),
    ),
    "one that tells nothing is not taken for one that syncs": (
        {},
        Facts(version=(0,), primary=True, cluster=False, memory_policy="noeviction", aof=False),
    ),
}


@pytest.mark.parametrize(("info", "want"), INFOS.values(), ids=INFOS.keys())
def test_what_matters_of_a_server_is_read_from_info(info: dict[str, Any], want: Facts) -> None:
    assert Facts.of(info) == want


@dataclass(frozen=True, kw_only=True)
class Fitness:
    facts: Facts
    aof: bool = True
    refused: tuple[str, ...] = ()
    """What the refusal says: the trouble, and what to do. Empty: the server will do."""


SERVERS = {
    "a primary that never evicts, with an append-only file synced always": Fitness(facts=GOOD),
    "an older one": Fitness(facts=OLD),
    "one without an append-only file, where that is accepted": Fitness(facts=replace(GOOD, aof=False), aof=False),
    "one that syncs every second, where that is accepted": Fitness(facts=GOOD.syncing("everysec"), aof=False),
    "a part of a cluster": Fitness(facts=replace(GOOD, cluster=True), refused=("Redis Cluster", "single primary")),
    "a replica": Fitness(facts=replace(GOOD, primary=False), refused=("read-only replica", "its primary")),
    "one without an append-only file": Fitness(
        facts=replace(GOOD, aof=False), refused=("no append-only file", "appendonly to yes", "durability.aof: false")
    ),
    "one that syncs every second, though it knows WAITAOF": Fitness(
        facts=GOOD.syncing("everysec"), refused=("appendfsync is everysec", "set it to always", "durability.aof: false")
    ),
    "one that leaves syncing to the system": Fitness(facts=GOOD.syncing("no"), refused=("appendfsync is no",)),
    "one that does not say when it syncs": Fitness(facts=GOOD.syncing(""), refused=("appendfsync is not known",)),
    **{
        f"one that evicts by {policy}, whatever is accepted": Fitness(
            facts=replace(GOOD, memory_policy=policy), aof=False, refused=(policy, "set it to noeviction")
        )
        for policy in ("allkeys-lru", "allkeys-lfu", "allkeys-random", "volatile-lru", "volatile-ttl")
    },
}


@pytest.mark.parametrize("sentence", SERVERS)
def test_a_server_is_fit_or_refused_by_name_with_what_to_change(sentence: str) -> None:
    case = SERVERS[sentence]
    if not case.refused:
        refuse_unfit(case.facts, aof=case.aof)
        return
    with pytest.raises(Misconfigured) as refused:
        refuse_unfit(case.facts, aof=case.aof)
    assert all(words in str(refused.value) for words in case.refused)


WAITS = {
    "the file of the primary": (GOOD, True, 0, ("WAITAOF", 1, 0)),
    "the files of primary and replicas": (GOOD, True, 2, ("WAITAOF", 1, 2)),
    "the memory of replicas": (GOOD, False, 2, ("WAIT", 2)),
    "nothing": (GOOD, False, 0, ()),
    "nothing, on an older server, which syncs before it answers": (OLD, True, 0, ()),
    "the memory of replicas, on an older server": (OLD, True, 1, ("WAIT", 1)),
    "the file, on the first server that can say so": (replace(GOOD, version=(7, 2, 0)), True, 0, ("WAITAOF", 1, 0)),
}


@pytest.mark.parametrize(("facts", "aof", "replicas", "want"), WAITS.values(), ids=WAITS.keys())
def test_a_write_waits_for(facts: Facts, aof: bool, replicas: int, want: tuple[str | int, ...]) -> None:
    assert facts.waits(aof=aof, replicas=replicas) == want
