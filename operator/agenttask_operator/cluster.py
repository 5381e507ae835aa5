"""The API server, as far as the operator needs it. Nothing else in the operator makes an API call.

Objects go in and come out as plain JSON over one session of the official client: its model classes cost ten times the
memory and time, and the operator reads a dozen fields.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Self, TypeVar
from urllib.parse import urlencode
from urllib.request import getproxies_environment

import aiohttp
import msgspec
from agenttask import contract
from aiolimiter import AsyncLimiter
from kubernetes.aio import client, config
from kubernetes.aio.client.rest import RESTResponse

from agenttask_operator.answers import ConflictError, NotFoundError, UnreachableError, error_of
from agenttask_operator.metrics import API_REQUESTS, Metrics
from agenttask_operator.observed import Complaint, Pod, Status, Task, newest_complaint, read_pod, read_task
from agenttask_operator.settings import ClientConnection
from agenttask_operator.status import Event

STATUS_POLICY: Final = "agenttask-status"
"""Name of the admission policy that fences the status, and of its binding; both come with the chart."""
REQUEST_SECONDS: Final = 30
PAGE: Final = 500
CONNECTIONS: Final = 64
DEFAULT_PACE: Final = ClientConnection()
MAX_SENDS: Final = 4
MAX_TOLD_SECONDS: Final = 10.0

_ADMISSION: Final = "/apis/admissionregistration.k8s.io/v1"
_JSON: Final = "application/json"
_MERGE: Final = "application/merge-patch+json"
_VERBS: Final = {"GET": "get", "POST": "create", "PATCH": "patch", "DELETE": "delete"}


logger = logging.getLogger(__name__)

ReadT = TypeVar("ReadT")


class Cluster:
    """The calls. Each try is bounded by `REQUEST_SECONDS`; all raise `ClusterError`.

    A server that says when to come back (429 or 5xx with Retry-After: it has done nothing) is asked again then, a few
    times. The worker waits meanwhile rather than trouble it with its next key.

    Args:
        api: the session.
        namespaces: where tasks and pods are looked for; empty means everywhere.
        pace: how many calls are let through.
        counts: where they are counted.
        sleep: waits that many seconds.
    """

    def __init__(
        self,
        api: client.ApiClient,
        *,
        namespaces: Sequence[str] = (),
        pace: ClientConnection = DEFAULT_PACE,
        counts: Metrics | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._api = api
        self._scopes = [f"/namespaces/{name}" for name in namespaces] or [""]
        self._limiter = AsyncLimiter(pace.burst, pace.burst / pace.qps)
        self._sleep = sleep
        self._counts = counts or Metrics()

    @classmethod
    async def connect(
        cls,
        *,
        namespaces: Sequence[str] = (),
        pace: ClientConnection = DEFAULT_PACE,
        counts: Metrics | None = None,
    ) -> Self:
        """Find the API server: the pod's service account, or for development the kubeconfig in use."""
        configuration = client.Configuration()
        if "KUBERNETES_SERVICE_HOST" in os.environ:
            config.load_incluster_config(client_configuration=configuration)
        else:
            # Looked up now: the client's own default is what the variable said when it was imported.
            found = os.environ.get("KUBECONFIG")
            await config.load_kube_config(config_file=found, client_configuration=configuration)
        configuration.connection_pool_maxsize = CONNECTIONS
        # Else each request asks two threads, for a proxy and for a .netrc.
        configuration.client_session_kwargs = {"trust_env": bool(getproxies_environment())}
        # Python 3.13 wants key identifiers in certificates, which the authorities of older EKS clusters, for one, lack.
        configuration.disable_strict_ssl_verification = True
        return cls(client.ApiClient(configuration), namespaces=namespaces, pace=pace, counts=counts)

    @property
    def api(self) -> client.ApiClient:
        """The session, for the leader election."""
        return self._api

    async def close(self) -> None:
        """Close the session."""
        await self._api.close()

    async def get_task(self, *, namespace: str, name: str) -> Task:
        """Read one task."""
        return read_task(await self._call("GET", _task_path(namespace, name)))

    async def tasks(self, *, page: int = PAGE) -> AsyncIterator[Task]:
        """All tasks, a page in memory at a time; one that cannot be read is logged and left out."""
        for scope in self._scopes:
            async for raw in self._list(f"{_api()}{scope}/{contract.PLURAL}", page=page):
                if (task := _readable(raw, read_task)) is not None:
                    yield task

    async def pods(self, *, page: int = PAGE) -> AsyncIterator[Pod]:
        """All runner pods, a page in memory at a time; one that cannot be read is logged and left out."""
        for scope in self._scopes:
            async for raw in self._list(f"/api/v1{scope}/pods", page=page, labelSelector=contract.LABEL_ATTEMPT):
                if (pod := _readable(raw, read_pod)) is not None:
                    yield pod

    async def pods_of(self, task: Task) -> tuple[Pod, ...]:
        """The pods this very task controls, by UID: a predecessor of the same name is another task."""
        meta = task.metadata
        found = self.pods_labelled(namespace=meta.namespace, selector=f"{contract.LABEL_TASK}={meta.name}")
        return tuple([pod async for pod in found if pod.owned_by(meta.uid)])

    async def pods_labelled(self, *, namespace: str, selector: str) -> AsyncIterator[Pod]:
        """The pods of a namespace that have these labels, a page in memory at a time."""
        async for raw in self._list(f"/api/v1/namespaces/{namespace}/pods", page=PAGE, labelSelector=selector):
            yield read_pod(raw)

    async def pods_named(self, *, task: Task, names: Iterable[str]) -> tuple[Pod, ...]:
        """Those of these pods that there are and that `pods_of` would find."""
        meta = task.metadata
        found = []
        for name in names:
            try:
                pod = await self.get_pod(namespace=meta.namespace, name=name)
            except NotFoundError:
                continue
            if pod.task == meta.name and pod.owned_by(meta.uid):
                found.append(pod)
        return tuple(found)

    async def complaint(self, pod: Pod) -> Complaint | None:
        """What its kubelet says of a pod that it cannot set up."""
        meta = pod.metadata
        path = _events_path(meta.namespace)
        selector = f"regarding.uid={meta.uid},type=Warning"
        return newest_complaint([raw async for raw in self._list(path, page=PAGE, fieldSelector=selector)])

    async def get_pod(self, *, namespace: str, name: str) -> Pod:
        """Read one pod."""
        return read_pod(await self._call("GET", _pod_path(namespace, name)))

    async def create_pod(self, manifest: dict[str, Any]) -> None:
        """Create a pod as rendered. Of a field that the server does not know it would only warn, and leave it out."""
        path = f"/api/v1/namespaces/{manifest['metadata']['namespace']}/pods"
        await self._call("POST", path, query={"fieldValidation": "Strict"}, body=manifest)

    async def delete_pod(self, *, namespace: str, name: str, uid: str) -> None:
        """Delete that very pod, with its own grace; one that is gone already is fine."""
        body = {"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": uid}}
        try:
            await self._call("DELETE", _pod_path(namespace, name), body=body)
        except (NotFoundError, ConflictError):
            return

    async def delete_task(self, task: Task) -> None:
        """Delete the task as it was read, and what it owns after it; one that is gone already is fine."""
        meta = task.metadata
        body = {
            "kind": "DeleteOptions",
            "apiVersion": "v1",
            "propagationPolicy": "Background",
            "preconditions": {"uid": meta.uid, "resourceVersion": meta.resource_version},
        }
        try:
            await self._call("DELETE", _task_path(meta.namespace, meta.name), body=body)
        except NotFoundError:
            return

    async def set_finalizer(self, *, task: Task, present: bool) -> None:
        """Have the task's deletion wait for its purge, or no longer, if it is still as it was read."""
        meta = task.metadata
        others = [one for one in meta.finalizers if one != contract.FINALIZER]
        finalizers = [*others, contract.FINALIZER] if present else others
        body = {"metadata": {"resourceVersion": meta.resource_version, "finalizers": finalizers}}
        query = {"fieldManager": contract.OPERATOR_MANAGER}
        path = _task_path(meta.namespace, meta.name)
        await self._call("PATCH", path, query=query, body=body, content_type=_MERGE)

    async def apply_status(self, *, task: Task, status: Status) -> Task:
        """Apply the whole operator-owned status, if the task is still as it was read. Returns it as it is now."""
        meta = task.metadata
        body = {
            "apiVersion": f"{contract.GROUP}/{contract.VERSION}",
            "kind": contract.KIND,
            "metadata": {
                "name": meta.name,
                "namespace": meta.namespace,
                # Also tells a task of the same name from this one: no two objects share a version.
                "resourceVersion": meta.resource_version,
            },
            "status": msgspec.to_builtins(status),
        }
        path = f"{_task_path(meta.namespace, meta.name)}/status"
        query = {"fieldManager": contract.OPERATOR_MANAGER, **contract.APPLY_OPTIONS}
        encoded = contract.encode_apply(body)
        made = await self._call("PATCH", path, query=query, body=encoded, content_type=contract.APPLY_CONTENT_TYPE)
        task = read_task(made)
        if task.status == status:
            return task
        # An apply takes away nothing that somebody else has written too, as a restored backup has all of it.
        body = {
            "metadata": {"resourceVersion": task.metadata.resource_version},
            "status": {
                key: value
                for key, value in _leftovers(made["status"], wanted=body["status"]).items()
                if key in Status.__struct_encode_fields__
            },
        }
        query = {"fieldManager": contract.OPERATOR_MANAGER}
        return read_task(await self._call("PATCH", path, query=query, body=body, content_type=_MERGE))

    async def create_event(self, *, task: Task, event: Event, reporter: str, now: datetime) -> str:
        """Write an Event on the task. Returns its name."""
        meta = task.metadata
        body = {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"generateName": f"{meta.name}-", "namespace": meta.namespace},
            "eventTime": _micros(now),
            "reportingController": contract.OPERATOR_MANAGER,
            "reportingInstance": reporter,
            "type": event.weight,
            "reason": event.reason,
            "action": event.action,
            "note": event.note,
            "regarding": {
                "apiVersion": f"{contract.GROUP}/{contract.VERSION}",
                "kind": contract.KIND,
                "name": meta.name,
                "namespace": meta.namespace,
                "uid": meta.uid,
            },
        }
        made = await self._call("POST", _events_path(meta.namespace), body=body)
        name: str = made["metadata"]["name"]
        return name

    async def repeat_event(self, *, task: Task, name: str, count: int, now: datetime) -> None:
        """Say that the Event has come about again, and how often in all."""
        body = {"series": {"count": count, "lastObservedTime": _micros(now)}}
        path = f"{_events_path(task.metadata.namespace)}/{name}"
        await self._call("PATCH", path, body=body, content_type=_MERGE)

    async def stop_deployment(self, *, namespace: str, name: str) -> bool:
        """Have a Deployment run no pods; whether some are left that were not told to end. A missing one has none."""
        path = f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"
        try:
            scale = await self._call("PATCH", path, body={"spec": {"replicas": 0}}, content_type=_MERGE)
        except NotFoundError:
            return False
        return bool(scale["status"]["replicas"])

    async def check_served(self) -> None:
        """Raise unless the server answers, knows AgentTasks, and shows them wherever they are looked after."""
        for scope in self._scopes:
            await self._call("GET", f"{_api()}{scope}/{contract.PLURAL}", query={"limit": "1"}, verb="list")

    async def check_fence(self) -> None:
        """Raise unless the admission policy on the status and its binding exist."""
        await self._call("GET", f"{_ADMISSION}/validatingadmissionpolicies/{STATUS_POLICY}")
        await self._call("GET", f"{_ADMISSION}/validatingadmissionpolicybindings/{STATUS_POLICY}")

    async def _list(self, path: str, *, page: int, **query: str) -> AsyncIterator[dict[str, Any]]:
        more: dict[str, str] = {}
        while True:
            answer = await self._call("GET", path, query={"limit": str(page), **query, **more}, verb="list")
            for item in answer["items"]:
                yield item
            token = answer["metadata"].get("continue")
            if not token:
                return
            more = {"continue": token}

    async def _call(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, str] | None = None,
        body: dict[str, Any] | bytes | None = None,
        content_type: str = _JSON,
        verb: str | None = None,
    ) -> Any:
        verb = verb or _VERBS[method]
        target = path + (f"?{urlencode(query)}" if query else "")
        for sends in range(1, MAX_SENDS + 1):
            await self._limiter.acquire()
            try:
                answer, content = await self._send(method, path, target=target, body=body, content_type=content_type)
            except UnreachableError:
                self._counts.count(API_REQUESTS, verb, "error")
                raise
            self._counts.count(API_REQUESTS, verb, str(answer.status))
            wait = _told_to_wait(answer)
            if wait is None or sends == MAX_SENDS:
                break
            await self._sleep(min(wait, MAX_TOLD_SECONDS))
        if answer.status >= 300:
            raise error_of(answer.status, content)
        try:
            return msgspec.json.decode(content)
        except msgspec.DecodeError as error:
            # Not an API server's answer: a proxy or load balancer in between.
            raise UnreachableError(f"HTTP {answer.status}, and no JSON: {error}") from error

    async def _send(
        self, method: str, path: str, *, target: str, body: dict[str, Any] | bytes | None, content_type: str
    ) -> tuple[RESTResponse, bytes]:
        try:
            headers = {"Accept": _JSON, "Content-Type": content_type, **self._api.default_headers}
            await self._api.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
            answer: RESTResponse = await self._api.rest_client.request(
                method,
                self._api.configuration.host + target,
                headers=headers,
                body=body,
                _request_timeout=aiohttp.ClientTimeout(total=REQUEST_SECONDS),
            )
            return answer, await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UnreachableError(f"{type(error).__name__}: {error}") from error


def _told_to_wait(answer: RESTResponse) -> float | None:
    """For how many seconds, where the server says so."""
    told = answer.headers.get("Retry-After", "")
    return float(told) if (answer.status == 429 or answer.status >= 500) and told.isdecimal() else None


def _leftovers(found: Mapping[str, Any], *, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The merge patch that makes one into the other."""
    patch: dict[str, Any] = {key: None for key in found if key not in wanted}
    for key, value in wanted.items():
        there = found.get(key)
        if isinstance(there, Mapping) and isinstance(value, Mapping):
            if inner := _leftovers(there, wanted=value):
                patch[key] = inner
        elif there != value:
            patch[key] = value
    return patch


def _readable(raw: dict[str, Any], read: Callable[[dict[str, Any]], ReadT]) -> ReadT | None:
    """What one of a listing is, None where it is not what it should be: the others are not to wait for it."""
    try:
        return read(raw)
    except msgspec.ValidationError as error:
        meta = raw.get("metadata", {})
        logger.warning("%s/%s cannot be read and is left alone: %s", meta.get("namespace"), meta.get("name"), error)
        return None


def _api() -> str:
    return f"/apis/{contract.GROUP}/{contract.VERSION}"


def _task_path(namespace: str, name: str) -> str:
    return f"{_api()}/namespaces/{namespace}/{contract.PLURAL}/{name}"


def _pod_path(namespace: str, name: str) -> str:
    return f"/api/v1/namespaces/{namespace}/pods/{name}"


def _events_path(namespace: str) -> str:
    return f"/apis/events.k8s.io/v1/namespaces/{namespace}/events"


def _micros(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
