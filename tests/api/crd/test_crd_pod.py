"""Every field of `spec.pod` is taken, changes the runner's pod, and makes one that the API server takes."""

from __future__ import annotations

from typing import Any, Final

import pytest
import yaml
from agenttask_operator import pods
from agenttask_operator.observed import ANNOTATION_DIGEST

from tests.api.charts import ROOT
from tests.api.client import Object
from tests.api.crd.installed import Copy
from tests.unit.operator.builders import SETTINGS, task

EXAMPLE: Final[Object] = {
    "image": "registry.example.com/mine:1",
    "imagePullPolicy": "Always",
    "imagePullSecrets": [{"name": "pull"}],
    "labels": {"example.com/team": "blue"},
    "annotations": {"example.com/note": "A task of ours."},
    "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
    "env": [
        {"name": "LANG", "value": "C.UTF-8"},
        {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
    ],
    "envFrom": [{"prefix": "A_", "secretRef": {"name": "more", "optional": True}}, {"configMapRef": {"name": "even"}}],
    "volumes": [{"name": "cache", "emptyDir": {"sizeLimit": "1Gi"}}],
    "volumeMounts": [{"name": "cache", "mountPath": "/cache", "subPath": "a"}],
    "nodeSelector": {"kubernetes.io/arch": "amd64"},
    "affinity": {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": [{"key": "example.com/gpu", "operator": "Exists"}]}]
            }
        }
    },
    "tolerations": [
        {"key": "gpu", "operator": "Equal", "value": "yes", "effect": "NoExecute", "tolerationSeconds": 60}
    ],
    "topologySpreadConstraints": [
        {
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": {"example.com/team": "blue"}},
        }
    ],
    "priorityClassName": "system-node-critical",
    "serviceAccountName": "agent",
    "runtimeClassName": "sandbox",
    "securityContext": {"runAsUser": 1000, "supplementalGroups": [2000]},
    "terminationGracePeriodSeconds": 120,
}


def rendered(wishes: Object) -> Object:
    """The pod of attempt 1."""
    one = task(spec={"prompt": "Hello.", "pod": wishes})
    return pods.render(task=one, plan=pods.plan(task=one, settings=SETTINGS), settings=SETTINGS, attempt=1)


def test_the_example_has_every_field() -> None:
    crd: Any = yaml.safe_load((ROOT / "crds/agenttask.yaml").read_text())
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert EXAMPLE.keys() == schema["properties"]["spec"]["properties"]["pod"]["properties"].keys()


def test_a_task_with_every_field_is_taken_as_it_stands(copy: Copy) -> None:
    body = copy.manifest(name="every-field", spec={"prompt": "Hello.", "pod": EXAMPLE})
    answer = copy.admin.send("POST", copy.path(), body=body, dryRun="All", fieldValidation="Strict")
    assert answer.accepted, answer.message
    assert answer.body["spec"]["pod"] == EXAMPLE


@pytest.mark.parametrize("field", EXAMPLE)
def test_every_field_changes_the_pod(field: str) -> None:
    without = {key: value for key, value in EXAMPLE.items() if key != field}
    assert undigested(rendered(EXAMPLE)) != undigested(rendered(without))


def test_the_pod_with_every_field_is_taken_by_the_server(copy: Copy) -> None:
    path = f"/api/v1/namespaces/{copy.namespace}"
    copy.admin.must("POST", f"{path}/serviceaccounts", body={"metadata": {"name": "agent"}})
    # A RuntimeClass is refused unless it exists.
    pod = rendered({key: value for key, value in EXAMPLE.items() if key != "runtimeClassName"})
    del pod["metadata"]["namespace"]
    answer = copy.admin.send("POST", f"{path}/pods", body=pod, dryRun="All", fieldValidation="Strict")
    assert answer.accepted, answer.message


def undigested(manifest: Object) -> Object:
    """The pod without the digest of its spec, which is no proof that anything of it was used."""
    del manifest["metadata"]["annotations"][ANNOTATION_DIGEST]
    return manifest
