"""The release over its life: installed, its defaults used, upgraded and uninstalled under tasks that run on."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import yaml

from tests.cluster.environment import Environment
from tests.e2e.conftest import Start, Witnesses
from tests.e2e.harness.kube import Api, Kind, Object
from tests.e2e.harness.model import ScriptedModel, says
from tests.e2e.harness.release import CHART, Release
from tests.e2e.harness.tasks import MODEL_SECRET, TWELVE_STEPS, Task, twelve_answer, twelve_replies
from tests.e2e.harness.wait import until

pytestmark = pytest.mark.needs_nodes  # it takes the release apart, which may be somebody's

HELLO = CHART.parents[1] / "examples" / "hello.yaml"
RIVERS = "The Yangtze (6,300 km), the Yenisei (5,539 km) and the Yellow River (5,464 km)."
DEFAULT_MODEL = "the-charts-default"


@pytest.fixture(scope="module")
def release(environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """The release; afterwards it is as it was."""
    release = Release(environment=environment, folder=tmp_path_factory.mktemp("release"))
    before = release.values()
    yield release
    release.restore(before)


@pytest.fixture(scope="module")
def values(release: Release, model: ScriptedModel) -> Object:
    """One block each for the images, the model default and the store default: this cluster's."""
    found = release.values()
    default_model = {"baseURL": model.base_url, "name": DEFAULT_MODEL, "apiKeySecretRef": {"name": MODEL_SECRET}}
    return {"image": found["image"], "store": found["store"], "model": default_model}


def test_the_five_line_manifest_completes_after_helm_install_and_two_secrets(
    release: Release, values: Object, api: Api, home: str, model: ScriptedModel
) -> None:
    release.uninstall()
    release.install(values)
    model.script(DEFAULT_MODEL, [says(RIVERS)])

    hello = Task.create(api=api, namespace=home, body=yaml.safe_load(HELLO.read_text()))
    status = hello.wait_finished()

    assert (status["phase"], status["result"]["answer"]) == ("Completed", RIVERS)
    (call,) = model.journal(DEFAULT_MODEL)
    assert [message["content"] for message in call.messages] == ["Name three rivers of Asia with their lengths."]


def test_a_running_task_stays_with_its_bucket_when_an_upgrade_changes_the_default(
    release: Release, values: Object, start: Start, api: Api, witness: Witnesses
) -> None:
    other = "elsewhere"
    witness.bucket.ensure(other)
    elsewhere = copy.deepcopy(values)
    elsewhere["store"]["s3"]["bucket"] = other
    task = start("stays", twelve_replies(), hold_after=2)
    until(lambda: witness.model.begun(task.model) >= 2, what="its second call", seen=task.describe)

    release.upgrade(elsewhere)
    pod = task.pod()["metadata"]["name"]
    api.delete(Kind.POD, pod, namespace=task.namespace, grace_seconds=0)
    task.wait_claimed(2)  # its pod is made by the upgraded operator
    witness.model.release(task.model)
    status = task.wait_finished()
    later = start("later", [says("elsewhere")])
    later_status = later.wait_finished()

    assert (status["phase"], status["result"]["answer"]) == ("Completed", twelve_answer())
    assert status["attempt"] == 2
    assert status["location"]["bucket"] == values["store"]["s3"]["bucket"]
    assert [claim.attempt for claim in witness.bucket.log(task).claims] == [1, 2]
    assert later_status["location"]["bucket"] == other
    assert witness.bucket.log(later).records[-1].key == later_status["result"]["key"]


def test_a_task_outlives_an_uninstall_and_is_finished_by_the_next_install(
    release: Release, values: Object, start: Start, api: Api, model: ScriptedModel
) -> None:
    task = start("orphan", twelve_replies(), hold_after=2)
    until(lambda: model.begun(task.model) >= 2, what="its second call", seen=task.describe)

    release.uninstall()
    assert not api.list(Kind.DEPLOYMENT, namespace=release.environment.operator_namespace), "the operator is gone"
    assert task.read()["status"]["phase"] == "Running", "the CRD and its tasks are kept"
    model.release(task.model)
    until(lambda: len(model.journal(task.model)) == TWELVE_STEPS, what="its last call", seen=task.describe)
    release.install(values)

    status = task.wait_finished()

    assert (status["phase"], status["result"]["answer"]) == ("Completed", twelve_answer())
    assert status["attempt"] == 1, "the runner needed no operator"
    assert model.repeated(task.model) == {}
