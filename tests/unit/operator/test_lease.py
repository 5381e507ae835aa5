"""The lease at a server that has vanished: no call is answered, and none is refused."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from agenttask_operator import leader
from agenttask_operator.cluster import Cluster
from agenttask_operator.leader import Leadership
from kubernetes.aio import client
from kubernetes.aio.leaderelection.leaderelectionrecord import LeaderElectionRecord

MINE = LeaderElectionRecord("me", "15", "2026-03-01 12:00:00.000001", "2026-03-01 12:00:00.000001")


class Vanished:
    """Takes every call, and never answers."""

    def __getattr__(self, name: str) -> Any:
        async def call(*_: Any, **__: Any) -> None:
            await asyncio.Event().wait()

        return call


@pytest.fixture
def leadership(monkeypatch: pytest.MonkeyPatch) -> Leadership:
    monkeypatch.setattr(leader, "CALL_SECONDS", 0.01)
    made = Leadership(cluster=Cluster(client.ApiClient()), namespace="here", name="lease", identity="me")
    made._lock.api_instance = cast(Any, Vanished())
    made._lock.lease_reference = client.V1Lease(spec=client.V1LeaseSpec())
    return made


@pytest.mark.parametrize("call", ["create", "update"])
async def test_a_write_that_is_not_answered_has_failed(leadership: Leadership, call: str) -> None:
    async with asyncio.timeout(5):
        assert await getattr(leadership._lock, call)("lease", "here", MINE) is False


async def test_a_look_that_is_not_answered_has_failed(leadership: Leadership) -> None:
    async with asyncio.timeout(5):
        found, _ = await leadership._lock.get("lease", "here")
    assert found is False
