"""Under several sets of values: helm's own lint has nothing to say, and the API server takes every object as it stands.

A dry run of a server-side apply checks an object against its schema, unknown fields included, whether or not one of
that name is there already.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest
from jsonschema import Draft7Validator

from tests.api.chart.conftest import MONITORING
from tests.api.charts import CHART, IMAGES, Helm, only, settings
from tests.api.client import APPLY, Answer, Client, Object

ONCE: Final = ("crds.enabled", "admission.enabled", "rbac.aggregateClusterRoles")
MODEL: Final = {
    "model.baseURL": "https://api.example.com/v1",
    "model.name": "small",
    "model.apiKeySecretRef.name": "agenttask-model",
    "model.fallbacks": [{"name": "large"}],
}
VALUES: Final[dict[str, Object]] = {
    "nothing but images": {},
    "to try it out": {**MODEL, "devStore.enabled": True, "crds.keep": False},
    "in production": {
        **MODEL,
        "store.s3.bucket": "agents",
        "store.s3.credentialsSecretRef.name": "agenttask-s3",
        "replicas": 3,
        "image.operator.pullSecrets": [{"name": "pull"}],
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "control", "operator": "Exists"}],
        "clientConnection.qps": 50,
        "metrics.podAnnotations": True,
        "metrics.serviceMonitor.enabled": True,
    },
    "a second release": {
        "watchNamespaces": ["default", "kube-public"],
        "store.redis.url": "rediss://redis:6379/0",
        **dict.fromkeys(ONCE, False),
    },
    "a release with namespaces that has everything": {
        "watchNamespaces": ["default"],
        "store.filesystem.claimName": "checkpoints",
    },
}
CLUSTER_WIDE: Final = {
    "CustomResourceDefinition": "customresourcedefinitions",
    "ClusterRole": "clusterroles",
    "ClusterRoleBinding": "clusterrolebindings",
    "ValidatingAdmissionPolicy": "validatingadmissionpolicies",
    "ValidatingAdmissionPolicyBinding": "validatingadmissionpolicybindings",
}


@pytest.mark.parametrize("sentence", VALUES)
def test_the_server_takes_every_object(helm: Helm, chart: Path, monitoring: str, sentence: str) -> None:
    admin = Client.from_kubeconfig(helm.kubeconfig)
    refused = {}
    for one in objects(helm, chart, VALUES[sentence], monitoring=monitoring):
        answer = dry_run(admin, one)
        if not answer.accepted:
            refused[one["kind"], one["metadata"]["name"]] = answer.message
    assert refused == {}


@pytest.mark.parametrize("sentence", VALUES)
def test_helms_own_lint_has_nothing_to_say(helm: Helm, sentence: str) -> None:
    helm.run("lint", CHART, "--strict", *settings({**IMAGES, **VALUES[sentence]}))


def test_a_field_that_no_schema_knows_is_refused_by_the_check(helm: Helm, chart: Path, monitoring: str) -> None:
    admin = Client.from_kubeconfig(helm.kubeconfig)
    made = objects(helm, chart, VALUES["in production"], monitoring=monitoring)
    deployment, monitor = only(made, "Deployment"), only(made, "ServiceMonitor")
    deployment["spec"]["template"]["spec"]["nodeSelectr"] = {}
    assert "nodeSelectr" in dry_run(admin, deployment).message
    monitor["spec"]["endpoints"][0]["intervl"] = "30s"
    assert "intervl" in dry_run(admin, monitor).message


@pytest.mark.parametrize("interval", ["500ms", "1h1m30s"])
def test_an_interval_that_the_chart_takes_is_one_for_prometheus(
    helm: Helm, chart: Path, monitoring: str, interval: str
) -> None:
    values = {**VALUES["in production"], "metrics.serviceMonitor.interval": interval}
    monitor = only(objects(helm, chart, values, monitoring=monitoring), "ServiceMonitor")
    assert dry_run(Client.from_kubeconfig(helm.kubeconfig), monitor).accepted


def test_the_schema_of_the_values_is_one() -> None:
    Draft7Validator.check_schema(json.loads((CHART / "values.schema.json").read_text()))


def objects(helm: Helm, chart: Path, values: Object, *, monitoring: str) -> list[Object]:
    """All the chart renders, in a namespace that is there, ServiceMonitors in an API group that is."""
    made: list[Object] = helm.render(chart, **values)
    for one in made:
        one["apiVersion"] = one["apiVersion"].replace(MONITORING, monitoring)
        if one["metadata"].get("namespace") == "agenttask-system":
            one["metadata"]["namespace"] = "default"
    return made


def dry_run(admin: Client, one: Object) -> Answer:
    """What the server would say of a server-side apply of the object."""
    return admin.send(
        "PATCH",
        path_of(one),
        body=one,
        content_type=APPLY,
        fieldManager="test",
        force="true",
        dryRun="All",
        fieldValidation="Strict",
    )


def path_of(one: Any) -> str:
    """URL path of the object."""
    group = f"/api/{one['apiVersion']}" if "/" not in one["apiVersion"] else f"/apis/{one['apiVersion']}"
    name = one["metadata"]["name"]
    if one["kind"] in CLUSTER_WIDE:
        return f"{group}/{CLUSTER_WIDE[one['kind']]}/{name}"
    return f"{group}/namespaces/{one['metadata']['namespace']}/{one['kind'].lower()}s/{name}"
