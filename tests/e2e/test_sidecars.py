"""A webhook puts a container beside each runner, as service meshes do: it stops when it is told to, never before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.api.client import Client, Object
from tests.api.operator.mesh import webhook
from tests.cluster.environment import Environment
from tests.e2e.conftest import Start, Witnesses
from tests.e2e.harness.kube import Api, Kind
from tests.e2e.harness.model import says
from tests.e2e.harness.wait import until

STAYS: Final = "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit()); signal.pause()"
SIDECAR: Final[Object] = {
    "name": "mesh",
    "command": ["python", "-c", STAYS],
    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
}


@pytest.fixture
def meshed(home: str, environment: Environment, tmp_path: Path) -> Iterator[Client]:
    """The namespace with such a webhook; its API as an admin."""
    admin = Client.from_kubeconfig(environment.kubeconfig)
    with webhook(
        admin=admin, address=environment.host_address, namespace=home, folder=tmp_path, sidecar=SIDECAR, mirror=""
    ):
        yield admin


def test_a_task_completes_over_two_attempts_and_its_pods_go_though_their_sidecars_never_end(
    start: Start, witness: Witnesses, api: Api, meshed: Client
) -> None:
    task = start("meshed", [says("Done.")], hold_after=0)
    task.wait_claimed(1)
    pod = task.pod()
    assert [one["name"] for one in pod["spec"]["containers"]] == ["mesh", "runner"]
    # No longer than that: the held call would be waited for.
    api.delete(Kind.POD, pod["metadata"]["name"], namespace=task.namespace, grace_seconds=1)
    task.wait_claimed(2)
    witness.model.release(task.model)
    status = task.wait_finished()
    assert (status["phase"], status["result"]["answer"]) == ("Completed", "Done.")
    assert status["counts"]["failures"] == 0
    pods = f"/api/v1/namespaces/{task.namespace}/pods"
    until(
        lambda: not meshed.must("GET", pods, labelSelector=f"agenttask.dev/task={task.name}")["items"],
        what="both pods are gone",
        seen=task.describe,
    )
