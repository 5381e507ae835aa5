"""The operator's moving parts against a real API server: watches, workers, resync, and who leads."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import httpx
import pytest
from agenttask_operator import cluster as api_calls
from agenttask_operator import handlers
from agenttask_operator.answers import ClusterError
from agenttask_operator.cluster import Cluster
from agenttask_operator.handlers import Inbox
from agenttask_operator.leader import Leadership
from agenttask_operator.main import Operator, resync, work
from agenttask_operator.queue import Queue
from agenttask_operator.reconcile import Key

from tests.api.client import MERGE
from tests.api.crd.installed import Copy
from tests.api.operator.world import SETTINGS, WatchedCluster, World
from tests.api.store.relay import Wire, relay
from tests.cluster.environment import Environment
from tests.e2e.harness.wait import PATIENCE_SECONDS
from tests.ports import reserved


async def until(sentence: str, condition: Callable[[], bool], *, seconds: float = PATIENCE_SECONDS) -> None:
    """Wait, with the operator's own tasks running meanwhile."""
    try:
        async with asyncio.timeout(seconds):
            while not await asyncio.to_thread(condition):  # noqa: ASYNC110 - the server tells nobody
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"not within {seconds} s: {sentence}") from None


@contextlib.asynccontextmanager
async def running(*jobs: asyncio.Task[Any]) -> AsyncIterator[None]:
    """Tasks that end with the block; one that ended before it failed."""
    try:
        yield
        assert not [job for job in jobs if job.done()]
    finally:
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)


class Wired:
    """A wire to a server, on a thread of its own: kopf ends every task of its loop that is younger than itself."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(PATIENCE_SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()

    def cut(self) -> None:
        """From when this returns nothing passes."""
        asyncio.run_coroutine_threadsafe(self._cut(), self._loop).result(PATIENCE_SECONDS)

    def mend(self) -> None:
        self._wire.wire = Wire.WHOLE

    @property
    def address(self) -> str:
        return self._wire.endpoint.replace("http:", "https:")

    async def _cut(self) -> None:
        self._wire.cut()

    async def _serve(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        async with relay(self._target) as self._wire:
            self._ready.set()
            await self._end.wait()
            self._wire.cut()
            await asyncio.sleep(0)


async def taken(queue: Queue[Key]) -> list[Key]:
    """All keys that wait, taken off the queue."""
    keys = [await queue.get() for _ in range(len(queue))]
    for key in keys:
        queue.done(key)
    return keys


def parts(world: World) -> tuple[Queue[Key], Noting]:
    queue: Queue[Key] = Queue(later=asyncio.get_running_loop().call_later)
    operator = world.operator
    inbox = Noting(queue=queue, departed=operator.departed, roster=operator.roster)
    inbox.leading = True
    # What the watches list first would wait for the first resync, and there is none here.
    inbox.resynced()
    return queue, inbox


class Noting(Inbox):
    """Notes which pods the watch shows."""

    pods: ClassVar[set[str]] = set()

    def pod(self, *, kind: str | None, raw: Mapping[str, Any]) -> None:
        self.pods.add(raw["metadata"]["name"])
        super().pod(kind=kind, raw=raw)


async def test_watches_and_a_worker_carry_a_task_from_its_creation_to_its_second_attempt(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = Environment.read()
    assert environment is not None
    monkeypatch.setenv("KUBECONFIG", str(environment.kubeconfig))
    world.foreign_pod(f"{world.name}-other")
    queue, inbox = parts(world)
    worker = asyncio.create_task(work(queue=queue, reconciler=world.operator))
    ready, stop = asyncio.Event(), asyncio.Event()
    watch = asyncio.create_task(handlers.watch(inbox=inbox, ready=ready, stop=stop))
    async with running(worker):
        try:
            await ready.wait()
            world.apply()
            await until("the pod is recorded", lambda: "podUID" in world.status)
            world.bind(1)
            world.claim(1)
            await until("the claim is noticed", lambda: world.status["phase"] == "Running")
            world.delete_pod(1, grace=0)
            await until("a second attempt", lambda: world.status["attempt"] == 2)
            # Only a watch can have seen that: the reconcile finds no pod.
            assert world.status["attempts"][0]["reason"] == "Deleted"
            assert f"{world.name}-1" in inbox.pods
            assert f"{world.name}-other" not in inbox.pods
        finally:
            # Cancelled instead, it would never end.
            stop.set()
            await watch


async def test_an_unreachable_api_server_is_waited_out_inside_the_process(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment = Environment.read()
    assert environment is not None
    with Wired(world.copy.admin.host) as wire:
        kubeconfig = tmp_path / "kubeconfig"
        kubeconfig.write_text(environment.kubeconfig.read_text().replace(world.copy.admin.host, wire.address))
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
        cluster = await Cluster.connect()
        operator = Operator(
            cluster=cluster, config=SETTINGS, identity="operator", namespace=world.copy.namespace, port=0
        )
        async with running(asyncio.create_task(operator.run())):
            world.apply()
            await until("the pod is recorded", lambda: "podUID" in world.status)
            lease = f"/apis/coordination.k8s.io/v1/namespaces/{world.copy.namespace}/leases/agenttask-operator"
            held = world.copy.admin.must("GET", lease)["spec"]["renewTime"]
            wire.cut()
            world.delete_pod(1, grace=0)
            await until("the lease is lost", lambda: operator.standing_by)
            assert world.copy.admin.must("GET", lease)["spec"]["renewTime"] >= held
            assert world.status["attempt"] == 1
            wire.mend()
            await until("a second attempt", lambda: world.status["attempt"] == 2)
        await cluster.close()


async def test_a_resync_finds_what_the_watches_missed_and_nothing_else(world: World) -> None:
    queue, inbox = parts(world)
    world.apply()
    assert await resync(cluster=world.cluster, reconciler=world.operator, queue=queue, inbox=inbox) is None
    key = Key(world.copy.namespace, world.name)
    assert key in await taken(queue)
    await world.settle()
    writes = list(world.writes.done)
    # The first listing saw the task and no watch has shown it since: the watch is silent.
    assert await resync(cluster=world.cluster, reconciler=world.operator, queue=queue, inbox=inbox) == "tasks"
    assert key not in await taken(queue)
    assert world.writes.done == writes


async def test_a_pod_that_no_watch_has_shown_is_found_by_a_resync_and_deleted(world: World) -> None:
    queue, inbox = parts(world)
    world.apply()
    await world.settle()
    late = world.pod(1)
    assert late is not None
    world.delete_pod(1, grace=0)
    await world.settle()
    await resync(cluster=world.cluster, reconciler=world.operator, queue=queue, inbox=inbox)
    await taken(queue)
    world.watched = False
    world.make_again(late)
    await world.settle()
    # From the first listing on, pods are read by name, and nothing has named this one.
    assert world.pods == [f"{world.name}-1", f"{world.name}-2"]
    await resync(cluster=world.cluster, reconciler=world.operator, queue=queue, inbox=inbox)
    assert Key(world.copy.namespace, world.name) in await taken(queue)
    await world.settle()
    assert world.pods == [f"{world.name}-2"]


async def test_one_of_two_leads_and_the_other_follows_when_it_lets_go(api: WatchedCluster, copy: Copy) -> None:
    first, second = (
        Leadership(cluster=api, namespace=copy.namespace, name=f"{copy.namespace}-agenttask-operator", identity=name)
        for name in ("first", "second")
    )
    led: list[str] = []
    holding = asyncio.create_task(first.hold(lead=lambda: led.append("first")))
    await until("one leads", lambda: bool(led))
    waiting = asyncio.create_task(second.hold(lead=lambda: led.append("second")))
    async with running(waiting):
        async with running(holding):
            await asyncio.sleep(0)
            assert led == ["first"]
        await second.release()
        assert led == ["first"]
        await first.release()
        await until("the other leads", lambda: led == ["first", "second"])
    await second.release()


async def test_a_leader_that_finds_its_lease_in_another_s_hands_stands_by_at_that_look(
    api: WatchedCluster, copy: Copy
) -> None:
    looks: list[str | None] = []

    class Looking(Leadership):
        def _noted(self, holder: str | None) -> None:
            looks.append(holder)
            super()._noted(holder)

    name = f"{copy.namespace}-agenttask-operator"
    first = Looking(cluster=api, namespace=copy.namespace, name=name, identity="first")
    led = asyncio.Event()
    holding = asyncio.create_task(first.hold(lead=led.set))
    await led.wait()
    path = f"/apis/coordination.k8s.io/v1/namespaces/{copy.namespace}/leases/{name}"
    copy.admin.must("PATCH", path, body={"spec": {"holderIdentity": "second"}}, content_type=MERGE)
    await holding
    assert looks.count("second") == 1
    copy.admin.must("PATCH", path, body={"spec": {"holderIdentity": ""}}, content_type=MERGE)


async def test_the_operator_is_alive_and_not_ready_while_its_status_is_not_fenced(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = Environment.read()
    assert environment is not None
    monkeypatch.setenv("KUBECONFIG", str(environment.kubeconfig))
    monkeypatch.setattr(api_calls, "STATUS_POLICY", "no-such-policy")
    with reserved() as port:
        operator = Operator(
            cluster=world.cluster, config=SETTINGS, identity="operator", namespace=world.copy.namespace, port=port
        )

        def answers(path: str) -> tuple[int, str]:
            try:
                answer = httpx.get(f"http://127.0.0.1:{port}/{path}", trust_env=False, timeout=60)
            except httpx.TransportError:
                return 0, ""
            return answer.status_code, answer.text

        async with running(asyncio.create_task(operator.run())):
            await until("it says what is missing", lambda: "no-such-policy" in answers("readyz")[1])
            assert (await asyncio.to_thread(answers, "readyz"))[0] == 503
            assert await asyncio.to_thread(answers, "livez") == (200, "ok\n")
            monkeypatch.setattr(api_calls, "STATUS_POLICY", f"{world.copy.group}-status")
            await until("it is ready", lambda: answers("readyz") == (200, "ok\n"))


async def test_the_operator_may_see_that_its_status_is_fenced(
    api: WatchedCluster, copy: Copy, monkeypatch: pytest.MonkeyPatch
) -> None:
    await api.check_served()
    monkeypatch.setattr(api_calls, "STATUS_POLICY", f"{copy.group}-status")
    await api.check_fence()
    monkeypatch.setattr(api_calls, "STATUS_POLICY", "no-such-policy")
    with pytest.raises(ClusterError):
        await api.check_fence()
