"""What the runner writes, on a real API server: nothing of it is refused, and nothing is pruned.

Who may write is the admission policy's matter and is tested with it; here the caller may do anything in the namespace.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from agenttask.agent.events import Claimed, Ended, Event, Replied, Started, Stopped, Tokens
from agenttask.agent.reducer import fold
from agenttask.contract import RunnerStatus
from agenttask.log import RecordRef
from agenttask.report import render
from agenttask.status_api import Answer, KubernetesStatus
from kubernetes.client import Configuration
from kubernetes.config import load_kube_config

from tests.api.client import Client
from tests.api.waiting import until
from tests.cluster.environment import Environment

START: tuple[Event, ...] = (Claimed(attempt=1), Started(prompt="p"))
REPLY = Replied(
    message={"content": "a" * 9000},
    finish_reason="stop",
    tokens=Tokens(prompt=3, completion=4),
    model="m",
    asked="m",
    ms=5,
    first_ms=5,
)
END = Ended(outcome="Completed", reason="Completed", message="answered after 1 step", answer="a" * 9000)


def status(*events: Event, seq: int, resumed_from: str | None) -> RunnerStatus:
    head = RecordRef(
        key=f"p/ns/task/uid/log/{seq:012d}",
        id=f"{seq}-0123456789ab",
        seq=seq,
        digest="d" * 64,
        progress_digest="e" * 64,
        step=1,
        attempt=2,
        time="2026-01-01T00:00:00.000Z",
        size_bytes=123,
        parent_id=None if seq == 1 else f"{seq - 1}-0123456789ab",
    )
    return render(state=fold(enumerate(events, 1)), head=head, max_steps=50, resumed_from=resumed_from)


class Task:
    """A suspended task and a token that may do anything in its namespace."""

    def __init__(self, *, kubeconfig: Path, namespace: str, token_dir: Path) -> None:
        configuration = Configuration()
        load_kube_config(config_file=str(kubeconfig), client_configuration=configuration)
        self.admin = Client.from_kubeconfig(kubeconfig)
        self.path = f"/apis/agenttask.dev/v1alpha1/namespaces/{namespace}/agenttasks"
        self.api = KubernetesStatus(server=configuration.host, token_dir=token_dir, namespace=namespace, name="task")
        (token_dir / "ca.crt").write_bytes(Path(configuration.ssl_ca_cert).read_bytes())
        token = self._token(namespace)
        (token_dir / "token").write_text(token)
        self.admin.must(
            "POST",
            self.path,
            body={
                "apiVersion": "agenttask.dev/v1alpha1",
                "kind": "AgentTask",
                "metadata": {"name": "task"},
                "spec": {"prompt": "p", "suspend": True},
            },
        )
        bearer = self.admin.with_token(token)
        until("the token may do anything", lambda: bearer.send("GET", f"{self.path}/task").accepted)

    def _token(self, namespace: str) -> str:
        core = f"/api/v1/namespaces/{namespace}/serviceaccounts"
        self.admin.must("POST", core, body={"metadata": {"name": "anything"}})
        self.admin.must(
            "POST",
            f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings",
            body={
                "metadata": {"name": "anything"},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
                "subjects": [{"kind": "ServiceAccount", "name": "anything", "namespace": namespace}],
            },
        )
        token = self.admin.must("POST", f"{core}/anything/token", body={"spec": {}})["status"]["token"]
        assert isinstance(token, str)
        return token

    def stored(self) -> dict[str, object]:
        """The runner's part, as the server has it."""
        whole = self.admin.must("GET", f"{self.path}/task").get("status", {})
        return {name: whole[name] for name in ("checkpoint", "progress", "usage", "result") if name in whole}


@pytest.fixture
def task(namespace: str, tmp_path: Path) -> Task:
    environment = Environment.read()
    assert environment is not None
    return Task(kubeconfig=environment.kubeconfig, namespace=namespace, token_dir=tmp_path)


async def test_every_field_the_runner_writes_is_kept_by_the_server(task: Task) -> None:
    stages = [
        status(*START, seq=1, resumed_from=None),
        status(*START, Claimed(attempt=2), Stopped(reason="Stopped"), seq=5, resumed_from="p/ns/task/uid/log/x"),
        status(*START, Claimed(attempt=2), REPLY, END, seq=9, resumed_from="p/ns/task/uid/log/x"),
    ]
    for stage in stages:
        assert await task.api.apply(stage) == (Answer.ACCEPTED, "")
        assert task.stored() == msgspec.json.decode(msgspec.json.encode(stage))
    await task.api.close()


async def test_an_answer_of_any_characters_is_accepted_and_kept(task: Task) -> None:
    reply = msgspec.structs.replace(REPLY, message={"content": "x"})
    answer = "a quote \x93, a control \x7f\x1b, a break \x85\u2028, a mark \ufeff\uffff, a face 😀, NUL \0"
    end = msgspec.structs.replace(END, answer=answer, message=answer)
    stage = status(*START, reply, end, seq=9, resumed_from=None)
    assert await task.api.apply(stage) == (Answer.ACCEPTED, "")
    assert task.stored()["result"] == {"answer": answer, "key": stage.checkpoint.key}
    await task.api.close()


async def test_a_task_that_is_gone_and_a_token_that_is_none_are_gone(task: Task, tmp_path: Path) -> None:
    task.admin.must("DELETE", f"{task.path}/task")
    answer, words = await task.api.apply(status(*START, seq=1, resumed_from=None))
    assert (answer, "not found" in words) == (Answer.GONE, True)
    (tmp_path / "token").write_text("no token")
    answer, _ = await task.api.apply(status(*START, seq=1, resumed_from=None))
    assert answer is Answer.GONE
    await task.api.close()
