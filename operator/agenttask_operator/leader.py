"""One of several replicas leads: a Lease, by the official client's election.

The election only saves work and noise. Two leaders at once do no harm: every status write is a compare-and-swap, and a
pod made too late is fenced at its claim or deleted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

import aiohttp
from kubernetes.aio import client
from kubernetes.aio.client.rest import ApiException
from kubernetes.aio.leaderelection.electionconfig import Config
from kubernetes.aio.leaderelection.leaderelection import LeaderElection
from kubernetes.aio.leaderelection.resourcelock.leaselock import LeaseLock

from agenttask_operator.cluster import Cluster

LEASE_SECONDS: Final = 15
RENEW_SECONDS: Final = 10
RETRY_SECONDS: Final = 2
CALL_SECONDS: Final = 5
"""How long one answer is waited for. The client alone would wait five minutes for a server that has vanished: as long
would a standby stand by, and a leader that cannot renew would not know that it leads no more."""

logger = logging.getLogger(__name__)


class _PatientLease(LeaseLock):  # type: ignore[misc] # the client's types are not followed
    """A lease that takes an unreachable server for a failed attempt: the election would end with the exception."""

    def __init__(
        self, name: str, namespace: str, identity: str, api: client.ApiClient, *, seen: Callable[[str | None], None]
    ) -> None:
        super().__init__(name, namespace, identity, api)
        self._seen = seen

    async def get(self, name: str, namespace: str) -> tuple[bool, Any]:
        try:
            async with asyncio.timeout(CALL_SECONDS):
                answer: tuple[bool, Any] = await super().get(name, namespace)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return False, ApiException(status=0, reason=repr(error))
        found, record = answer
        if found:
            self._seen(record.holder_identity)
        return answer

    async def create(self, name: str, namespace: str, election_record: Any) -> bool:
        # The base class asks for pretty=True, which the generated call (client 37) refuses: it wants a string.
        lease = client.V1Lease(metadata=client.V1ObjectMeta(name=name), spec=self.update_lease(election_record))
        return await self._patiently(self.api_instance.create_namespaced_lease(namespace, lease))

    async def update(self, name: str, namespace: str, updated_record: Any) -> bool:
        return await self._patiently(super().update(name, namespace, updated_record))

    async def _patiently(self, call: Any) -> bool:
        try:
            async with asyncio.timeout(CALL_SECONDS):
                answer = await call
        except (ApiException, aiohttp.ClientError, TimeoutError, OSError) as error:
            logger.warning("Lease not written: %r", error)
            return False
        return answer is not False


class Leadership:
    """The right to work, as long as it is renewed."""

    def __init__(self, *, cluster: Cluster, namespace: str, name: str, identity: str) -> None:
        self._lock = _PatientLease(name, namespace, identity, cluster.api, seen=self._noted)
        self._held = False
        self._taken = asyncio.Event()

    async def hold(self, *, lead: Callable[[], None]) -> None:
        """Wait for the lease, call `lead`, and renew it. Returns when it is lost: then nothing may be done any more."""

        async def won() -> None:
            self._held = True
            lead()

        election = LeaderElection(
            Config(
                self._lock,
                lease_duration=LEASE_SECONDS,
                renew_deadline=RENEW_SECONDS,
                retry_period=RETRY_SECONDS,
                onstarted_leading=won,
                onstopped_leading=None,
            )
        )
        self._taken.clear()
        # The election would try to renew for all of its deadline, though another has the lease: after a long sleep.
        works = [asyncio.create_task(election.run()), asyncio.create_task(self._taken.wait())]
        try:
            done, _ = await asyncio.wait(works, return_when=asyncio.FIRST_COMPLETED)
            for work in done:
                work.result()
        finally:
            for work in works:
                work.cancel()
            await asyncio.gather(*works, return_exceptions=True)
        self._held = False

    def _noted(self, holder: str | None) -> None:
        if self._held and holder and holder != self._lock.identity:
            self._taken.set()

    async def release(self) -> None:
        """Give the lease back if it is held, so that the other replica need not wait for it to expire."""
        if not self._held:
            return
        # Read it again: a renewal does not keep the version it has made.
        found, record = await self._lock.get(self._lock.name, self._lock.namespace)
        if not found or record.holder_identity != self._lock.identity:
            return
        lease = self._lock.lease_reference
        lease.spec.holder_identity = ""
        try:
            async with asyncio.timeout(CALL_SECONDS):
                await self._lock.api_instance.replace_namespaced_lease(self._lock.name, self._lock.namespace, lease)
        except (ApiException, aiohttp.ClientError, TimeoutError, OSError) as error:
            logger.warning("Lease not released: %r", error)
