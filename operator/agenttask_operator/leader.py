"""One of several replicas leads: a Lease, by the official client's election.

The election only saves work and noise. Two leaders at once do no harm: every status write is a compare-and-swap, and a
pod made too late is fenced at its claim or deleted.
"""

from __future__ import annotations

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

logger = logging.getLogger(__name__)


class _PatientLease(LeaseLock):  # type: ignore[misc] # the client's types are not followed
    """A lease that takes an unreachable server for a failed attempt: the election would end with the exception."""

    async def get(self, name: str, namespace: str) -> tuple[bool, Any]:
        try:
            answer: tuple[bool, Any] = await super().get(name, namespace)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return False, ApiException(status=0, reason=repr(error))
        return answer

    async def create(self, name: str, namespace: str, election_record: Any) -> bool:
        # The base class asks for pretty=True, which the generated call (client 37) refuses: it wants a string.
        lease = client.V1Lease(metadata=client.V1ObjectMeta(name=name), spec=self.update_lease(election_record))
        return await self._patiently(self.api_instance.create_namespaced_lease(namespace, lease))

    async def update(self, name: str, namespace: str, updated_record: Any) -> bool:
        return await self._patiently(super().update(name, namespace, updated_record))

    async def _patiently(self, call: Any) -> bool:
        try:
            answer = await call
        except (ApiException, aiohttp.ClientError, TimeoutError, OSError) as error:
            logger.warning("Lease not written: %r", error)
            return False
        return answer is not False


class Leadership:
    """The right to work, as long as it is renewed."""

    def __init__(self, *, cluster: Cluster, namespace: str, name: str, identity: str) -> None:
        self._lock = _PatientLease(name, namespace, identity, cluster.api)
        self._held = False

    async def hold(self, *, lead: Callable[[], None]) -> None:
        """Wait for the lease, call `lead`, and renew it. Returns when it is lost: then nothing may be done any more."""

        async def won() -> None:
            self._held = True
            lead()

        async def lost() -> None:
            self._held = False

        await LeaderElection(
            Config(
                self._lock,
                lease_duration=LEASE_SECONDS,
                renew_deadline=RENEW_SECONDS,
                retry_period=RETRY_SECONDS,
                onstarted_leading=won,
                onstopped_leading=lost,
            )
        ).run()

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
            await self._lock.api_instance.replace_namespaced_lease(self._lock.name, self._lock.namespace, lease)
        except (ApiException, aiohttp.ClientError, TimeoutError, OSError) as error:
            logger.warning("Lease not released: %r", error)
