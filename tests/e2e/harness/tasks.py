"""Tasks as the tests make and watch them: a builder with good defaults, and a handle on one running task."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.e2e.harness.kube import Api, Kind, Object
from tests.e2e.harness.model import Reply, ScriptedModel, calls, says_sum
from tests.e2e.harness.tools import ToolServer, number_of
from tests.e2e.harness.wait import until

MODEL_SECRET = "agenttask-model"
STORE_SECRET = "agenttask-s3"

TRIPLE = ["python3", "-c", "import json, sys; print(json.load(sys.stdin)['n'] * 3)"]
"""A command tool that the runner image can run: {"n": 5} on standard input, 15 on standard output."""

TWELVE_STEPS = 12


def twelve_replies() -> list[Reply]:
    """Twelve model calls: eleven turns of tool calls (the fourth asks for two at once), then the sum of all results."""
    turns = [calls(("number", {"n": n})) for n in range(1, TWELVE_STEPS - 1)]
    turns[3] = calls(("number", {"n": 4}), ("triple", {"n": 100}))
    return [*turns, calls(("triple", {"n": 7})), says_sum()]


def twelve_answer() -> str:
    """What a run that lost nothing and doubled nothing answers."""
    total = sum(number_of(n) for n in range(1, TWELVE_STEPS - 1)) + 300 + 21
    return f"The sum is {total}."


def tool_uses() -> int:
    """How often an undisturbed twelve-step run asks the tool server."""
    return TWELVE_STEPS - 2


def model_of(*, namespace: str, name: str) -> str:
    """The model name by which one task's calls are told apart in the journal."""
    return f"{namespace}.{name}"


def manifest(
    *,
    name: str,
    model: ScriptedModel,
    model_name: str,
    tools: ToolServer | None = None,
    spec: Object | None = None,
    agent: Object | None = None,
) -> Object:
    """An AgentTask that uses the scripted model, and both tools where a tool server is given.

    `spec` and `agent` are laid over the defaults, key by key; what is None in `spec` is left out.
    """
    number = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    offered = [
        {"name": "number", "description": "A number for n.", "parameters": number, "recovery": "Idempotent"},
        {"name": "triple", "description": "Three times n.", "parameters": number, "recovery": "Idempotent"},
    ]
    if tools:
        offered[0]["http"] = {"method": "POST", "url": tools.url(task=name)}
        offered[1]["command"] = copy.copy(TRIPLE)
    endpoint = {
        "baseURL": model.base_url,
        "name": model_name,
        "apiKeySecretRef": {"name": MODEL_SECRET, "key": "api-key"},
    }
    whole = {
        "prompt": f"Add up the numbers ({name}).",
        "agent": {"model": endpoint, **({"tools": offered} if tools else {}), **(agent or {})},
        **(spec or {}),
    }
    return {
        "apiVersion": "agenttask.dev/v1alpha1",
        "kind": "AgentTask",
        "metadata": {"name": name},
        "spec": {key: value for key, value in whole.items() if value is not None},
    }


def condition(task: Object, type_: str) -> Object | None:
    """The condition of that type, or None."""
    conditions: list[Object] = task.get("status", {}).get("conditions", [])
    return next((item for item in conditions if item["type"] == type_), None)


def is_true(task: Object, type_: str) -> bool:
    """Whether the condition of that type is there and true."""
    found = condition(task, type_)
    return found is not None and found["status"] == "True"


@dataclass(frozen=True, kw_only=True)
class Task:
    """One task on the API server."""

    api: Api
    namespace: str
    name: str
    uid: str

    @classmethod
    def create(cls, *, api: Api, namespace: str, body: Object) -> Task:
        """Create the task."""
        made = api.create(Kind.TASK, body, namespace=namespace)
        return cls(api=api, namespace=namespace, name=made["metadata"]["name"], uid=made["metadata"]["uid"])

    @property
    def model(self) -> str:
        """Name of this task's scripted model."""
        return model_of(namespace=self.namespace, name=self.name)

    def read(self) -> Object:
        """The whole object. Raises AssertionError once it is gone."""
        found = self.api.get(Kind.TASK, self.name, namespace=self.namespace)
        assert found is not None, f"the task {self.name} is gone"
        return found

    def status(self) -> Object:
        """The status, empty until the operator wrote one."""
        return dict(self.read().get("status", {}))

    def pods(self, *, attempt: int | None = None) -> list[Object]:
        """This task's pods, those on their way out included; those of one attempt where one is named."""
        pods = self.api.list(Kind.POD, namespace=self.namespace, labels=f"agenttask.dev/task={self.name}")
        mine = [pod for pod in pods if any(o["uid"] == self.uid for o in pod["metadata"].get("ownerReferences", []))]
        if attempt is None:
            return mine
        return [pod for pod in mine if pod["metadata"]["labels"].get("agenttask.dev/attempt") == str(attempt)]

    def pod(self) -> Object:
        """The current attempt's pod, once its runner runs."""

        def running() -> Object | None:
            attempt = self.status().get("attempt")
            pods = self.pods(attempt=attempt) if attempt else []
            return next((pod for pod in pods if pod.get("status", {}).get("phase") == "Running"), None)

        return until(running, what=f"{self.name} has a running pod", seen=self.describe)

    def patch_spec(self, **changes: Any) -> None:
        """Merge `changes` into the spec."""
        self.api.merge(Kind.TASK, self.name, {"spec": changes}, namespace=self.namespace)

    def describe(self) -> str:
        """What a person would look at: the status without its conditions, and the pods' phases."""
        task = self.api.get(Kind.TASK, self.name, namespace=self.namespace)
        if task is None:
            return "the task is gone"
        status = {key: value for key, value in task.get("status", {}).items() if key != "conditions"}
        pods = {
            pod["metadata"]["name"]: (
                pod.get("status", {}).get("phase"),
                "deleting" if pod["metadata"].get("deletionTimestamp") else "",
                [c.get("state") for c in pod.get("status", {}).get("containerStatuses", [])],
            )
            for pod in self.pods()
        }
        return f"{status}; pods {pods}"

    def wait(self, *, what: str, **want: Any) -> Object:
        """Wait until each of `want` stands in the status; return the status."""

        def there() -> Object | None:
            status = self.status()
            return status if all(status.get(key) == value for key, value in want.items()) else None

        return until(there, what=f"{self.name}: {what}", seen=self.describe)

    def wait_finished(self) -> Object:
        """Wait until the condition Finished is true; return the status."""

        def finished() -> Object | None:
            task = self.read()
            return dict(task["status"]) if is_true(task, "Finished") else None

        return until(finished, what=f"{self.name} finishes", seen=self.describe)

    def wait_stalled(self, reason: str) -> Object:
        """Wait until Stalled is true with `reason`, the phase's reason agreeing; return the status."""

        def stalled() -> Object | None:
            task = self.read()
            found = condition(task, "Stalled")
            said = found is not None and found["status"] == "True" and found["reason"] == reason
            return dict(task["status"]) if said and task["status"]["reason"] == reason else None

        what = f"{self.name} is Stalled/{reason}"
        return until(stalled, what=what, seen=self.describe)

    def wait_claimed(self, attempt: int) -> Object:
        """Wait until this attempt, or a later one, holds the log; return the status.

        Until then its predecessor, whose pod may be gone and whose process is not, can still end the run.
        """

        def claimed() -> Object | None:
            status = self.status()
            return status if status.get("checkpoint", {}).get("attempt", 0) >= attempt else None

        return until(claimed, what=f"attempt {attempt} of {self.name} holds the log", seen=self.describe)

    def wait_told_to_stop(self) -> None:
        """Wait until none of its pods may begin something: each has ended, or is on its way out."""

        def told() -> bool:
            return all(
                "deletionTimestamp" in pod["metadata"]
                for pod in self.pods()
                if pod.get("status", {}).get("phase") in ("Pending", "Running")
            )

        until(told, what=f"{self.name} is told to stop", seen=self.describe)

    def delete(self) -> None:
        """Delete the task."""
        self.api.delete(Kind.TASK, self.name, namespace=self.namespace)


def secrets(*, access_key_id: str, secret_access_key: str) -> Sequence[Object]:
    """The two Secrets a namespace needs: the model's key and the store's."""
    return (
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": MODEL_SECRET},
            "stringData": {"api-key": "sk-the-scripted-model-takes-any"},
        },
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": STORE_SECRET},
            "stringData": {"AWS_ACCESS_KEY_ID": access_key_id, "AWS_SECRET_ACCESS_KEY": secret_access_key},
        },
    )
