"""One task on a real API server, with the test in the place of scheduler, kubelet and runner.

The operator's own code runs against a copy of the API under a group of its own (so an installed operator takes no part)
and with the rights the chart gives it. Its pods are taken by no scheduler; a test binds them to a node that does not
exist, so they stay Terminating when deleted, and reports their state as a kubelet would.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
from agenttask import contract
from agenttask_operator.answers import ClusterError, ConflictError
from agenttask_operator.cluster import Cluster
from agenttask_operator.observed import Pod, Status, Task, read_pod
from agenttask_operator.reconcile import Key, Reconciler
from agenttask_operator.roster import Roster
from agenttask_operator.settings import Settings

from tests.api.client import APPLY, MERGE, Client, Object
from tests.api.crd.installed import Copy

CONFIG: Final[Object] = {
    "runner": {"image": "none.invalid/none"},
    "model": {"baseURL": "https://model.invalid/v1", "name": "small"},
    "store": {"s3": {"bucket": "bucket"}},
}
SETTINGS: Final = msgspec.convert(CONFIG, Settings)
RUNNING: Final[Object] = {"running": {"startedAt": "2026-03-01T12:00:00Z"}}


class Killed(BaseException):
    """The operator's process ended here; no handler of its own sees this."""


@dataclass(kw_only=True)
class Clock:
    """A time that passes when a test says so, and not meanwhile, however slow the machine."""

    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@dataclass(kw_only=True)
class Writes:
    """Counts writes, and kills the operator at one of them."""

    kill_at: int | None = None
    """The write, counted from 1."""
    lands: bool = False
    """Whether that write still reaches the server."""
    done: list[str] = field(default_factory=list)

    def before(self, name: str) -> None:
        self.done.append(name)
        if len(self.done) == self.kill_at and not self.lands:
            raise Killed

    def after(self) -> None:
        if len(self.done) == self.kill_at and self.lands:
            raise Killed


class WatchedCluster(Cluster):
    """The real calls, counted; pods go to no scheduler."""

    writes: Writes
    gates: tuple[str, ...] = ()
    """What holds pods back as they are made, as the webhook of a queue does."""

    async def create_pod(self, manifest: dict[str, Any]) -> None:
        manifest["spec"]["schedulerName"] = "nobody"
        if self.gates:
            manifest["spec"]["schedulingGates"] = [{"name": gate} for gate in self.gates]
        self.writes.before("create")
        await super().create_pod(manifest)
        self.writes.after()

    async def delete_pod(self, *, namespace: str, name: str, uid: str) -> None:
        self.writes.before("delete")
        await super().delete_pod(namespace=namespace, name=name, uid=uid)
        self.writes.after()

    async def set_finalizer(self, *, task: Task, present: bool) -> None:
        self.writes.before("finalizer")
        await super().set_finalizer(task=task, present=present)
        self.writes.after()

    async def apply_status(self, *, task: Task, status: Status) -> Task:
        self.writes.before("status")
        made = await super().apply_status(task=task, status=status)
        self.writes.after()
        return made


def show(roster: Roster, *, pods: Collection[Pod]) -> None:
    """Let an operator know that there are these pods, and no others, as its watch or a listing does."""
    before = roster.known()
    for pod in pods:
        roster.add(pod)
    roster.settle(before=before, listed={pod.metadata.uid for pod in pods})


@dataclass(kw_only=True)
class World:
    """A task's name, and all that may be done to it."""

    copy: Copy
    cluster: WatchedCluster
    name: str
    clock: Clock = field(default_factory=Clock)
    writes: Writes = field(default_factory=Writes)
    watched: bool = True
    """Whether the operator's watch of pods shows it what there is."""
    sidecar: str = ""
    """Name of a container that somebody has put before the runner's and that never ends by itself."""

    def __post_init__(self) -> None:
        self.cluster.writes = self.writes
        self.restart()

    # The operator.

    def restart(self) -> None:
        """A new operator process: what the last one kept in memory is gone."""
        self.operator = self.another_operator()

    def another_operator(self) -> Reconciler:
        """One more operator at the same cluster."""
        return Reconciler(cluster=self.cluster, settings=SETTINGS, clock=self.clock, reporter="test")

    async def reconcile(self) -> float | None:
        """One reconcile, by an operator that has been shown all pods, as by its watches; it reads them by name."""
        if self.watched:
            show(self.operator.roster, pods=[read_pod(one) for one in self._listed()])
        return await self.operator.reconcile(Key(self.copy.namespace, self.name))

    async def settle(self) -> float | None:
        """Reconcile until nothing is to be done at once, as the queue would. Returns when to look again, in seconds."""
        for _ in range(20):
            try:
                after = await self.reconcile()
            except ConflictError:
                continue
            except Killed:
                self.writes.kill_at = None
                self.restart()
                continue
            if after != 0:
                return after
        raise AssertionError(f"never settles: {self.status}")

    # The user.

    def apply(self, **spec: Any) -> Object:
        """Create the task."""
        return self.copy.create(name=self.name, spec={"prompt": "Hello.", **spec})

    def edit(self, **spec: Any) -> None:
        """Change the spec."""
        self._admin.must("PATCH", self._path, body={"spec": spec}, content_type=MERGE)

    def delete(self, *, propagation: str = "Background") -> None:
        """Delete the task."""
        self._admin.must("DELETE", self._path, body={"propagationPolicy": propagation})

    @property
    def status(self) -> Object:
        """The task's status now."""
        found: Object = self._admin.must("GET", self._path).get("status", {})
        return found

    @property
    def finalizers(self) -> list[str]:
        """What its deletion waits for."""
        found: list[str] = self._admin.must("GET", self._path)["metadata"].get("finalizers", [])
        return found

    @property
    def is_gone(self) -> bool:
        """Whether there is no such task."""
        return self._admin.send("GET", self._path).status == 404

    @property
    def is_deleted(self) -> bool:
        """Whether it is to go, or gone."""
        answer = self._admin.send("GET", self._path)
        return answer.status == 404 or "deletionTimestamp" in answer.body["metadata"]

    @property
    def uid(self) -> str:
        """The task's UID."""
        found: str = self._admin.must("GET", self._path)["metadata"]["uid"]
        return found

    def events(self) -> list[tuple[str, str]]:
        """Reason and note of the Events told of the task."""
        path = f"/apis/events.k8s.io/v1/namespaces/{self.copy.namespace}/events"
        items = self._admin.must("GET", path, fieldSelector=f"regarding.name={self.name}")["items"]
        return [(one["reason"], one["note"]) for one in items]

    def condition(self, kind: str) -> tuple[str, str, str] | None:
        """Status, reason and message of a condition."""
        found = [one for one in self.status.get("conditions", []) if one["type"] == kind]
        return (found[0]["status"], found[0]["reason"], found[0]["message"]) if found else None

    # Somebody else.

    def foreign_pod(self, name: str) -> None:
        """A pod that has nothing to do with the task."""
        pod = {
            "metadata": {"name": name},
            "spec": {
                "schedulerName": "nobody",
                "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [
                    {
                        "name": "other",
                        "image": "none.invalid/none",
                        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                    }
                ],
            },
        }
        self._admin.must("POST", f"/api/v1/namespaces/{self.copy.namespace}/pods", body=pod)

    def make_again(self, pod: Object) -> None:
        """Make a pod that is gone once more, as an operator does that was stalled for long."""
        meta = {key: pod["metadata"][key] for key in ("name", "labels", "annotations", "ownerReferences")}
        path = f"/api/v1/namespaces/{self.copy.namespace}/pods"
        self._admin.must("POST", path, body={"metadata": meta, "spec": pod["spec"]})

    def unlabel(self, attempt: int, label: str) -> None:
        """Take a label off the pod, as a careless `kubectl label` does."""
        body = {"metadata": {"labels": {label: None}}}
        self._admin.must("PATCH", self.pod_path(attempt), body=body, content_type=MERGE)

    # Scheduler and kubelet.

    def pod_path(self, attempt: int) -> str:
        return f"/api/v1/namespaces/{self.copy.namespace}/pods/{self.name}-{attempt}"

    def pod(self, attempt: int) -> Object | None:
        """The pod of an attempt, None if there is none."""
        answer = self._admin.send("GET", self.pod_path(attempt))
        return answer.body if answer.accepted else None

    @property
    def pods(self) -> list[str]:
        """Names of all pods of the task's name that are not being deleted."""
        return sorted(one["metadata"]["name"] for one in self._listed() if "deletionTimestamp" not in one["metadata"])

    def _listed(self) -> list[Object]:
        path = f"/api/v1/namespaces/{self.copy.namespace}/pods"
        found: list[Object] = self._admin.must("GET", path, labelSelector=f"{contract.LABEL_TASK}={self.name}")["items"]
        return found

    @property
    def node(self) -> str:
        """A node that does not exist, of this task alone.

        Where a cluster is not the tests' own, pods of one are collected 40 s after it was first named.
        """
        return f"ghost-{self.name}"

    def bind(self, attempt: int) -> None:
        """Place the pod on a node that does not exist."""
        name = f"{self.name}-{attempt}"
        body = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": name},
            "target": {"kind": "Node", "name": self.node},
        }
        self._admin.must("POST", f"{self.pod_path(attempt)}/binding", body=body)

    def report(
        self, attempt: int, *, state: Object, phase: str = "Running", **conditions: tuple[str, str, int]
    ) -> None:
        """Say of the pod what its kubelet would. Conditions are (status, reason, seconds ago)."""
        now = self.clock()
        beside = [_container(RUNNING, name=self.sidecar)] if self.sidecar else []
        status = {
            "phase": "Running" if self.sidecar else phase,
            "containerStatuses": [*beside, _container(state)],
            "conditions": [
                {
                    "type": kind,
                    "status": state,
                    "reason": reason,
                    "lastTransitionTime": (now - timedelta(seconds=ago)).strftime("%Y-%m-%dT%H:%M:%SZ"),
                }
                for kind, (state, reason, ago) in conditions.items()
            ],
        }
        self.patch_pod_status(attempt, status)

    def patch_pod_status(self, attempt: int, status: Object) -> None:
        """Write into the pod's status."""
        self._admin.must("PATCH", f"{self.pod_path(attempt)}/status", body={"status": status}, content_type=MERGE)

    def complain(self, attempt: int, *, reason: str, note: str) -> None:
        """Write a Warning about the pod, as its kubelet does."""
        pod = self.pod(attempt)
        assert pod is not None
        event = {
            "metadata": {"generateName": f"{self.name}-"},
            "eventTime": self.clock().strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "reportingController": "kubelet",
            "reportingInstance": self.node,
            "action": "Setup",
            "type": "Warning",
            "reason": reason,
            "note": note,
            "regarding": {"kind": "Pod", "name": pod["metadata"]["name"], "namespace": self.copy.namespace}
            | {"uid": pod["metadata"]["uid"]},
        }
        path = f"/apis/events.k8s.io/v1/namespaces/{self.copy.namespace}/events"
        self._admin.must("POST", path, body=event)

    def delete_pod(self, attempt: int, *, grace: int | None = None) -> None:
        """Delete the pod as `kubectl delete pod` does."""
        body = {"gracePeriodSeconds": grace} if grace is not None else {}
        self._admin.must("DELETE", self.pod_path(attempt), body=body)

    # The runner.

    async def begin(self, attempt: int, *, step: int = 0, resumed_from: str | None = None) -> None:
        """The pod is placed, its runner starts and claims the log."""
        self.bind(attempt)
        self.report(attempt, state=RUNNING)
        await self.settle()
        self.claim(attempt, step=step, resumed_from=resumed_from)
        await self.settle()

    def claim(self, attempt: int, *, step: int = 0, resumed_from: str | None = None) -> None:
        """Report a record of the log."""
        seq = attempt * 100 + step
        told = contract.RunnerStatus(
            checkpoint=contract.CheckpointStatus(
                key=f"log/{seq:012d}",
                id=f"{seq}-0123456789ab",
                seq=seq,
                step=step,
                attempt=attempt,
                digest="d" * 64,
                progress_digest=f"{step}" * 8,
                time="2026-03-01T12:00:00Z",
                size_bytes=100,
                resumed_from=resumed_from,
            ),
            progress=contract.ProgressStatus(step=step, max_steps=50, display=f"{step}/50", message="Working."),
            usage=contract.UsageStatus(
                model_calls=step,
                repeated_model_calls=0,
                failed_model_calls=0,
                unpriced_model_calls=0,
                tool_calls=0,
                prompt_tokens=1,
                cached_tokens=0,
                completion_tokens=1,
                reasoning_tokens=0,
                total_tokens=2,
                attempts=(),
            ),
        )
        self.tell(told)

    def tell(self, told: contract.RunnerStatus) -> None:
        """Report, as the runner's own field manager does."""
        body = {
            "apiVersion": f"{self.copy.group}/{contract.VERSION}",
            "kind": contract.KIND,
            "metadata": {"name": self.name},
            "status": msgspec.to_builtins(told),
        }
        query = {"fieldManager": contract.RUNNER_MANAGER, **contract.APPLY_OPTIONS}
        self._admin.must("PATCH", f"{self._path}/status", body=body, content_type=APPLY, **query)

    def end(self, attempt: int, outcome: contract.Outcome, *, code: int = 0, **said: Any) -> None:
        """The runner ends with its message."""
        told = contract.Termination(
            contract=contract.CONTRACT,
            outcome=outcome,
            reason=said.pop("reason", outcome),
            message=said.pop("message", "It is so."),
            attempt=attempt,
            **said,
        )
        self.exit(attempt, code=code, message=msgspec.json.encode(told).decode())

    def exit(self, attempt: int, *, code: int, message: str = "") -> None:
        """The container ends."""
        ended = {"terminated": {"exitCode": code, "reason": "Completed" if code == 0 else "Error", "message": message}}
        self.report(attempt, state=ended, phase="Succeeded" if code == 0 else "Failed")

    @property
    def _admin(self) -> Client:
        return self.copy.admin

    @property
    def _path(self) -> str:
        return self.copy.path(task=self.name)


def _container(state: Object, *, name: str = contract.CONTAINER) -> Object:
    return {
        "name": name,
        "image": "none.invalid/none",
        "imageID": "",
        "ready": "running" in state,
        "restartCount": 0,
        "state": state,
    }


__all__ = ["RUNNING", "SETTINGS", "Clock", "ClusterError", "Killed", "WatchedCluster", "World", "Writes"]
