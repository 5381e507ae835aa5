"""The lease: that of another, and one's own at a server that has vanished, where no call is answered or refused."""

from __future__ import annotations

import asyncio
import copy
from datetime import datetime
from typing import Any, cast

import pytest
from agenttask_operator import leader
from agenttask_operator.cluster import Cluster
from agenttask_operator.leader import Leadership
from kubernetes.aio import client
from kubernetes.aio.client.rest import ApiException
from kubernetes.aio.leaderelection import leaderelection
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


class Leases:
    """A server with one lease."""

    def __init__(self) -> None:
        self.lease: Any = None
        self.looks = asyncio.Queue[None]()

    async def read_namespaced_lease(self, *_: Any) -> Any:
        self.looks.put_nowait(None)
        if self.lease is None:
            missing = ApiException(status=404, reason="Not Found")
            missing.body = '{"code": 404}'
            raise missing
        return copy.deepcopy(self.lease)

    async def create_namespaced_lease(self, _: str, body: Any) -> None:
        self._store(body)

    async def replace_namespaced_lease(self, name: str, namespace: str, body: Any) -> None:
        del name, namespace
        self._store(body)

    def is_held_by(self, holder: str) -> None:
        """Somebody has taken it."""
        self.lease.spec.holder_identity = holder

    def _store(self, body: Any) -> None:
        self.lease = copy.deepcopy(body)
        for name in ("acquire_time", "renew_time"):
            told = getattr(self.lease.spec, name)
            setattr(self.lease.spec, name, datetime.fromisoformat(told) if isinstance(told, str) else told)


class Hurried:
    """What an election takes of `asyncio`; between its looks no time passes."""

    create_task = staticmethod(asyncio.create_task)

    @staticmethod
    async def sleep(_: float) -> None:
        await asyncio.sleep(0)


@pytest.fixture
def leases(leadership: Leadership, monkeypatch: pytest.MonkeyPatch) -> Leases:
    monkeypatch.setattr(leader, "CALL_SECONDS", 5)
    monkeypatch.setattr(leaderelection, "asyncio", Hurried)
    made = Leases()
    leadership._lock.api_instance = cast(Any, made)
    return made


async def test_one_whose_lease_another_has_stands_by_at_once_and_then_waits_as_any_standby(
    leadership: Leadership, leases: Leases
) -> None:
    led = asyncio.Event()
    async with asyncio.timeout(5):
        first = asyncio.create_task(leadership.hold(lead=led.set))
        await led.wait()
        leases.is_held_by("other")
        await first
        led.clear()
        leases.looks = asyncio.Queue()
        second = asyncio.create_task(leadership.hold(lead=led.set))
        for _ in range(3):
            await leases.looks.get()
        assert not second.done()
        assert not led.is_set()
        leases.is_held_by("")
        await led.wait()
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)


@pytest.mark.parametrize(("holder", "left"), [("me", ""), ("other", "other")])
async def test_a_lease_is_given_back_if_it_is_one_s_own(
    leadership: Leadership, leases: Leases, holder: str, left: str
) -> None:
    led = asyncio.Event()
    async with asyncio.timeout(5):
        holds = asyncio.create_task(leadership.hold(lead=led.set))
        await led.wait()
        holds.cancel()
        await asyncio.gather(holds, return_exceptions=True)
        leases.is_held_by(holder)
        await leadership.release()
    assert leases.lease.spec.holder_identity == left
