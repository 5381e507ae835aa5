"""What is compared: AgentTasks with this operator, and Jobs with the Job controller, each in a namespace of its own."""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from benchmarks.operator import waiting
from benchmarks.operator.api import Api, Object, RefusedError, Seen
from benchmarks.operator.fleet import ENDS, PLACEMENT

GONE_SECONDS: Final = 600


class System(Protocol):
    """One of the two."""

    @property
    def name(self) -> str:
        """As the table says it."""

    @property
    def namespace(self) -> str:
        """Where its objects live."""

    @property
    def collection(self) -> str:
        """URL path of its objects."""

    def manifest(self, name: str, *, ends: bool) -> Object:
        """An object whose pod ends after a second, or stays."""

    def is_done(self, seen: Seen) -> bool:
        """Whether the object is complete."""


class Tasks:
    """AgentTasks, whose smallest form is a prompt."""

    name = "AgentTask"
    namespace = "bench-tasks"

    def __init__(self, *, group: str) -> None:
        self._version = f"{group}/v1alpha1"
        self.collection = f"/apis/{self._version}/namespaces/{self.namespace}/agenttasks"

    def manifest(self, name: str, *, ends: bool, suspended: bool = False) -> Object:
        """A task."""
        labels = {"labels": {ENDS: "told"}} if ends else {}
        spec: Object = {"prompt": "Name three rivers of Asia.", "pod": {**PLACEMENT, **labels}}
        if suspended:
            spec["suspend"] = True
        return {"apiVersion": self._version, "kind": "AgentTask", "metadata": {"name": name}, "spec": spec}

    def is_done(self, seen: Seen) -> bool:
        """Whether the phase says so."""
        return seen.status.phase == "Completed"


class Jobs:
    """Jobs of one pod, set up to make light of disruptions as tasks do.

    Args:
        pod: metadata and spec of each one's pod, such as an agent needs it without AgentTasks (default: the least that
            a pod can be).
    """

    def __init__(self, *, pod: Object | None = None) -> None:
        self._pod = _LEAST if pod is None else pod
        self.name = "Job" if pod is None else "Job of a task's pod"
        self.namespace = "bench-jobs" if pod is None else "bench-alike"
        self.collection = f"/apis/batch/v1/namespaces/{self.namespace}/jobs"

    def manifest(self, name: str, *, ends: bool) -> Object:
        """A Job."""
        disrupted = {"onPodConditions": [{"type": "DisruptionTarget"}], "action": "Ignore"}
        labels = {ENDS: "itself"} if ends else {}
        template = {"metadata": {**self._pod["metadata"], "labels": labels}, "spec": self._pod["spec"]}
        spec = {"backoffLimit": 100, "podFailurePolicy": {"rules": [disrupted]}, "template": template}
        return {"metadata": {"name": name}, "spec": spec}

    def is_done(self, seen: Seen) -> bool:
        """Whether it has a completion time."""
        return seen.status.completion_time is not None


_LEAST: Final[Object] = {
    "metadata": {},
    "spec": {
        "restartPolicy": "Never",
        "containers": [{"name": "runner", "image": "none.invalid/runner"}],
        **PLACEMENT,
    },
}


def namespace_path(name: str) -> str:
    """URL path of a namespace."""
    return f"/api/v1/namespaces/{name}"


async def make_namespace(api: Api, name: str) -> None:
    """Make it, and wait until pods can be made there."""
    await api.send("POST", "/api/v1/namespaces", body={"metadata": {"name": name}})

    async def furnished() -> bool:
        for needed in ("serviceaccounts/default", "configmaps/kube-root-ca.crt"):
            try:
                await api.send("GET", f"{namespace_path(name)}/{needed}")
            except RefusedError:
                return False
        return True

    await waiting.until(f"namespace {name} is furnished", furnished, seconds=60)


async def remove_namespace(api: Api, name: str, *, collections: tuple[str, ...] = ()) -> None:
    """Remove it, the objects of these collections first so that no controller brings their pods back."""
    for collection in collections:
        await _emptied(api, collection)
    await api.remove(namespace_path(name))

    async def gone() -> bool:
        return await _gone(api, namespace_path(name))

    await waiting.until(f"namespace {name} is gone", gone, seconds=GONE_SECONDS, every=0.5)


async def _emptied(api: Api, collection: str) -> None:
    async with asyncio.timeout(GONE_SECONDS):
        while True:
            try:
                found = await api.send("GET", collection, limit="1")
                if not found["items"]:
                    return
                await api.remove(collection)
            except RefusedError as refused:
                if refused.status == 404:
                    return
                # 504: ten thousand objects take longer than one request may. Go on with the rest.
                if refused.status not in {429, 500, 504}:
                    raise


async def _gone(api: Api, path: str) -> bool:
    try:
        await api.send("GET", path)
    except RefusedError as refused:
        return refused.status == 404
    return False
