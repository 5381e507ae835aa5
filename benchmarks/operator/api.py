"""An asynchronous client of the API server for the benchmark: thousands of small requests, and watches.

It is the cluster's admin. Objects a watch delivers are read into one small struct that fits tasks, Jobs and pods, since
the time this process spends on them is taken from the systems it measures.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, Final, Self

import aiohttp
import msgspec
from kubernetes.client import Configuration
from kubernetes.config import load_kube_config

Object = dict[str, Any]

JSON: Final = "application/json"
MERGE: Final = "application/merge-patch+json"
AT_ONCE: Final = 32
"""Requests this process has under way at most, of one bulk."""
_LINE_BYTES: Final = 2**21


class RefusedError(Exception):
    """The API server answered with an error; `status` is its code."""

    def __init__(self, *, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


class Owner(msgspec.Struct, frozen=True):
    """One owner reference."""

    uid: str
    name: str


class Metadata(msgspec.Struct, frozen=True, rename="camel"):
    """Of any object."""

    name: str
    namespace: str
    uid: str
    resource_version: str
    deletion_timestamp: str | None = None
    labels: dict[str, str] = {}
    owner_references: tuple[Owner, ...] = ()


class Status(msgspec.Struct, frozen=True, rename="camel"):
    """Of a task (phase), a pod (phase) or a Job (completion time)."""

    phase: str = ""
    attempt: int = 0
    observed_generation: int = 0
    completion_time: str | None = None


class Seen(msgspec.Struct, frozen=True):
    """A task, a Job or a pod."""

    metadata: Metadata
    status: Status = Status()

    @property
    def owner(self) -> str:
        """Name of its first owner; empty where it has none."""
        return next((one.name for one in self.metadata.owner_references), "")


class Event(msgspec.Struct, frozen=True):
    """What a watch delivers."""

    type: str
    object: Seen


class Api:
    """One session."""

    def __init__(self, *, host: str, context: ssl.SSLContext) -> None:
        self._host = host
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context, limit=0), read_bufsize=_LINE_BYTES, trust_env=False
        )

    @classmethod
    def of_the_cluster(cls, kubeconfig: Path) -> Self:
        """The identity of the kubeconfig's current context, which has a client certificate."""
        configuration = Configuration()
        load_kube_config(config_file=str(kubeconfig), client_configuration=configuration)
        context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
        context.load_cert_chain(configuration.cert_file, configuration.key_file)
        return cls(host=configuration.host, context=context)

    async def close(self) -> None:
        """Close the session."""
        await self._http.close()

    async def send(
        self, method: str, path: str, *, body: Object | None = None, content_type: str = JSON, **query: str
    ) -> Object:
        """Send one request.

        Raises:
            RefusedError: the server says no.
        """
        async with self._http.request(
            method,
            self._host + path,
            params=query,
            data=None if body is None else json.dumps(body),
            headers={"Content-Type": content_type},
            timeout=aiohttp.ClientTimeout(total=60),
        ) as answer:
            content = await answer.read()
        made: Object = json.loads(content) if content else {}
        if answer.status >= 300:
            raise RefusedError(status=answer.status, message=str(made.get("message", "")))
        return made

    async def list(self, path: str, **query: str) -> list[Object]:
        """All objects of a collection, read by pages."""
        found: list[Object] = []
        more = {"limit": "500", **query}
        while True:
            answer = await self.send("GET", path, body=None, content_type=JSON, **more)
            found += answer["items"]
            token = answer["metadata"].get("continue")
            if not token:
                return found
            more["continue"] = token

    async def server_cpu_seconds(self) -> float:
        """Processor time that the API server has used since it started."""
        async with self._http.get(f"{self._host}/metrics") as answer:
            answer.raise_for_status()
            lines = (await answer.text()).splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith("process_cpu_seconds_total "))

    async def remove(self, path: str) -> None:
        """Delete an object, or all of a collection, and what it owns after it; what is gone already is fine."""
        body = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
        try:
            await self.send("DELETE", path, body=body)
        except RefusedError as refused:
            if refused.status != 404:
                raise

    async def watch(self, path: str, **query: str) -> AsyncIterator[Event]:
        """Changes of a collection, for ever, what is there first."""
        version = "0"
        while True:
            params = {"watch": "1", "resourceVersion": version, "timeoutSeconds": "3000", **query}
            quiet = aiohttp.ClientTimeout(total=None)
            async with self._http.get(self._host + path, params=params, timeout=quiet) as answer:
                async for line in answer.content:
                    event = msgspec.json.decode(line, type=Event)
                    version = event.object.metadata.resource_version
                    yield event


async def bulk(calls: Iterable[Callable[[], Awaitable[object]]], *, at_once: int = AT_ONCE) -> None:
    """Make many calls, a bounded number at a time, in the order given."""
    remaining = iter(calls)

    async def worker() -> None:
        for call in remaining:
            await call()

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(worker())
