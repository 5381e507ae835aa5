"""What the packaged chart makes of values, and which it refuses."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from agenttask_operator import settings

from tests.api.charts import CHART, ROOT, Helm, HelmError, only
from tests.api.client import Client, Object

DIGEST: Final = "sha256:" + 64 * "a"
RUNNER: Final = {"image": "registry.example.com/agenttask-runner:0.1.0", "imagePullPolicy": "IfNotPresent"}
OPERATOR: Final[Object] = {
    "runner": RUNNER,
    "leaderElection": {"enabled": True, "leaseName": "agenttask-operator"},
    "clientConnection": {"qps": 500, "burst": 1000},
    "log": {"format": "json", "level": "info"},
    "workers": 24,
    "resyncSeconds": 60,
}
MODEL: Final = {"model.baseURL": "https://api.example.com/v1", "model.name": "small"}

WHOLE_MODEL: Final[Object] = {
    "maxRetries": 5,
    "caConfigMapRef": {"name": "roots", "key": "ca.crt"},
    "headers": {"X-Team": "blue"},
    "options": {"temperature": 0.2},
    "price": {"input": "0.25", "output": "1"},
    "fallbacks": [{"name": "large", "baseURL": "https://b.example.com", "apiKeySecretRef": {"name": "b", "key": "k"}}],
}

CONFIGURATIONS: Final[dict[str, tuple[Object, Object]]] = {
    "nothing but images": ({}, {}),
    "a model and its key": (
        {**MODEL, "model.apiKeySecretRef.name": "agenttask-model"},
        {
            "model": {
                "baseURL": "https://api.example.com/v1",
                "name": "small",
                "maxRetries": 3,
                "apiKeySecretRef": {"name": "agenttask-model", "key": "api-key"},
            }
        },
    ),
    "a model without a key": (
        MODEL,
        {"model": {"baseURL": "https://api.example.com/v1", "name": "small", "maxRetries": 3}},
    ),
    "an address alone, where the chart's own chain is asked": (
        {"model.baseURL": "https://api.example.com/v1"},
        {
            "model": {
                "baseURL": "https://api.example.com/v1",
                "name": "deepseek-v3.2",
                "maxRetries": 3,
                "fallbacks": [{"name": "gpt-4.1"}, {"name": "claude-sonnet-4.5"}],
            }
        },
    ),
    "a model with everything that belongs to it": (
        {**MODEL, **{f"model.{key}": value for key, value in WHOLE_MODEL.items()}},
        {"model": {"baseURL": "https://api.example.com/v1", "name": "small", **WHOLE_MODEL}},
    ),
    "a bucket of AWS, opened by the pod's own identity": (
        {"store.s3.bucket": "agents"},
        {"store": {"s3": {"bucket": "agents"}}},
    ),
    "a bucket elsewhere": (
        {
            "store.s3.bucket": "agents",
            "store.s3.prefix": "prod",
            "store.s3.endpoint": "https://s3.example.com",
            "store.s3.region": "eu-west-1",
            "store.s3.credentialsSecretRef.name": "agenttask-s3",
        },
        {
            "store": {
                "s3": {
                    "bucket": "agents",
                    "prefix": "prod",
                    "endpoint": "https://s3.example.com",
                    "region": "eu-west-1",
                    "credentialsSecretRef": {"name": "agenttask-s3"},
                }
            }
        },
    ),
    "a bucket behind one's own certificates, encrypted": (
        {
            "store.s3.bucket": "agents",
            "store.s3.endpoint": "https://s3.example.com",
            "store.s3.addressing": "Virtual",
            "store.s3.encryption.type": "SSE-KMS",
            "store.s3.encryption.kmsKeyID": "key-1",
            "store.s3.caConfigMapRef.name": "cas",
        },
        {
            "store": {
                "s3": {
                    "bucket": "agents",
                    "endpoint": "https://s3.example.com",
                    "addressing": "Virtual",
                    "encryption": {"type": "SSE-KMS", "kmsKeyID": "key-1"},
                    "caConfigMapRef": {"name": "cas", "key": "ca.crt"},
                }
            }
        },
    ),
    "a Redis server": (
        {"store.redis.url": "rediss://redis:6379/0", "store.redis.credentialsSecretRef.name": "login"},
        {
            "store": {
                "redis": {
                    "url": "rediss://redis:6379/0",
                    "ttlSeconds": 604800,
                    "durability": {"aof": True, "replicas": 0},
                    "credentialsSecretRef": {"name": "login"},
                }
            }
        },
    ),
    "a Redis server whose replicas count": (
        {
            "store.redis.url": "redis://redis",
            "store.redis.prefix": "prod",
            "store.redis.ttlSeconds": 0,
            "store.redis.durability.aof": False,
            "store.redis.durability.replicas": 2,
        },
        {
            "store": {
                "redis": {
                    "url": "redis://redis",
                    "prefix": "prod",
                    "ttlSeconds": 0,
                    "durability": {"aof": False, "replicas": 2},
                }
            }
        },
    ),
    "a volume": (
        {"store.filesystem.claimName": "checkpoints", "store.filesystem.path": "prod"},
        {"store": {"filesystem": {"claimName": "checkpoints", "path": "prod"}}},
    ),
    "an operator that goes easy on its API server": (
        {"clientConnection.qps": 12.5, "clientConnection.burst": 20, "workers": 4, "resyncSeconds": 600},
        {"clientConnection": {"qps": 12.5, "burst": 20}, "workers": 4, "resyncSeconds": 600},
    ),
    "a log for people": (
        {"log.format": "text", "log.level": "warning"},
        {"log": {"format": "text", "level": "warning"}},
    ),
    "two namespaces": ({"watchNamespaces": ["blue", "red"]}, {"watchNamespaces": ["blue", "red"]}),
    "the development store": (
        {"devStore.enabled": True},
        {
            "store": {
                "s3": {
                    "bucket": "agenttask",
                    "endpoint": "http://agenttask-devstore.agenttask-system.svc:7070",
                    "region": "us-east-1",
                    "credentialsSecretRef": {"name": "agenttask-devstore"},
                }
            }
        },
    ),
    "a runner image that is pinned": (
        {"image.runner.digest": DIGEST},
        {"runner": {**RUNNER, "image": f"registry.example.com/agenttask-runner@{DIGEST}"}},
    ),
    "one whose tag is there for people": (
        {"image.runner.digest": DIGEST, "image.runner.tag": "v1"},
        {"runner": {**RUNNER, "image": f"registry.example.com/agenttask-runner:v1@{DIGEST}"}},
    ),
    "a private runner image": (
        {"image.runner.tag": "dev", "image.runner.pullPolicy": "Never", "image.runner.pullSecrets": [{"name": "pull"}]},
        {
            "runner": {
                "image": "registry.example.com/agenttask-runner:dev",
                "imagePullPolicy": "Never",
                "imagePullSecrets": [{"name": "pull"}],
            }
        },
    ),
}


@pytest.mark.parametrize("sentence", CONFIGURATIONS)
def test_the_operator_reads_exactly_what_the_values_say(helm: Helm, chart: Path, tmp_path: Path, sentence: str) -> None:
    values, want = CONFIGURATIONS[sentence]
    text = only(helm.render(chart, **values), "ConfigMap")["data"]["config.yaml"]
    assert yaml.safe_load(text) == {**OPERATOR, **want}
    file = tmp_path / "config.yaml"
    file.write_text(text)
    settings.load(file)


REFUSALS: Final[dict[str, tuple[Object, str]]] = {
    "no operator image": ({"image.operator.repository": ""}, "make images REGISTRY=… TAG=… PLATFORMS=…"),
    "no runner image": ({"image.runner.repository": ""}, "make images REGISTRY=… TAG=… PLATFORMS=…"),
    "no image for the development store": (
        {"devStore.enabled": True, "image.devStore.repository": ""},
        "make images REGISTRY=… TAG=… PLATFORMS=…",
    ),
    "a digest that is none": ({"image.runner.digest": "sha256:abc"}, "digest"),
    "a tag in its repository": ({"image.operator.repository": "registry.example.com:5000/o:1.0"}, "repository"),
    "a digest in its repository": ({"image.operator.repository": f"registry.example.com/o@{DIGEST}"}, "repository"),
    "a key of no Secret": (
        {**MODEL, "model.apiKeySecretRef.key": "token"},
        "model.apiKeySecretRef.key needs model.apiKeySecretRef.name",
    ),
    "a key of no ConfigMap for a model": (
        {**MODEL, "model.caConfigMapRef.key": "tls.crt"},
        "model.caConfigMapRef.key needs model.caConfigMapRef.name",
    ),
    "a key of no ConfigMap for a bucket": (
        {"store.s3.bucket": "agents", "store.s3.caConfigMapRef.key": "tls.crt"},
        "store.s3.caConfigMapRef.key needs store.s3.caConfigMapRef.name",
    ),
    "a key of no ConfigMap for a Redis server": (
        {"store.redis.url": "rediss://r", "store.redis.caConfigMapRef.key": "tls.crt"},
        "store.redis.caConfigMapRef.key needs store.redis.caConfigMapRef.name",
    ),
    "retries of no model": ({"model.maxRetries": 5}, "model is taken whole or not at all"),
    "a Redis server's time without it": ({"store.redis.ttlSeconds": 60}, "set store.redis.url too"),
    "a Redis server's replicas without it": ({"store.redis.durability.replicas": 1}, "set store.redis.url too"),
    "a Redis server's disk without it": ({"store.redis.durability.aof": False}, "set store.redis.url too"),
    "a bucket with two dots in a row": ({"store.s3.bucket": "a..b"}, "a bucket's name has no two dots in a row"),
    "a bucket that is an address": ({"store.s3.bucket": "10.0.0.1"}, "and is no IP address"),
    "a bucket that begins with a hyphen": ({"store.s3.bucket": "-ab"}, "bucket"),
    "a port of a bucket that cannot be": (
        {"store.s3.bucket": "agents", "store.s3.endpoint": "http://s3:65536"},
        "store.s3.endpoint http://s3:65536: the port must be a number from 1 to 65535",
    ),
    "a port of a Redis server that cannot be": (
        {"store.redis.url": "redis://r:0/1"},
        "store.redis.url redis://r:0/1: the",
    ),
    "a port of a model that cannot be": (
        {**MODEL, "model.baseURL": "http://llm:99999/v1"},
        "model.baseURL http://llm:99999",
    ),
    "a port of a fallback in words": (
        {**MODEL, "model.fallbacks": [{"name": "b", "baseURL": "http://b:port"}]},
        "model.fallbacks[0].baseURL http://b:port: the port must be a number",
    ),
    "half a model": ({"model.name": "small"}, "model is taken whole or not at all"),
    "a key for no model": ({"model.apiKeySecretRef.name": "keys"}, "model is taken whole or not at all"),
    "a fallback of no model": ({"model.fallbacks": [{"name": "large"}]}, "model is taken whole or not at all"),
    "a fallback behind the chart's own chain": (
        {"model.baseURL": "https://api.example.com/v1", "model.fallbacks": [{"name": "large"}]},
        "model.fallbacks need model.name",
    ),
    "a fallback's key without an endpoint": (
        {**MODEL, "model.fallbacks": [{"name": "large", "apiKeySecretRef": {"name": "keys"}}]},
        "baseURL",
    ),
    "half a price": ({**MODEL, "model.price": {"input": "1"}}, "output"),
    "a store without its bucket": ({"store.s3.prefix": "prod"}, "store is taken whole or not at all"),
    "a Redis store without its address": ({"store.redis.prefix": "prod"}, "set store.redis.url too"),
    "a folder without its volume": ({"store.filesystem.path": "prod"}, "set store.filesystem.claimName too"),
    "a key for no encryption": (
        {"store.s3.bucket": "agents", "store.s3.encryption.kmsKeyID": "k"},
        "kmsKeyID needs the type SSE-KMS",
    ),
    "a key for an encryption that takes none": (
        {"store.s3.bucket": "agents", "store.s3.encryption.type": "SSE-S3", "store.s3.encryption.kmsKeyID": "k"},
        "kmsKeyID needs the type SSE-KMS",
    ),
    "certificates of a model that shows none": (
        {**MODEL, "model.baseURL": "http://llm", "model.caConfigMapRef.name": "roots"},
        "model.caConfigMapRef needs an https model.baseURL",
    ),
    "certificates of a fallback that shows none": (
        {**MODEL, "model.fallbacks": [{"name": "b", "baseURL": "http://b", "caConfigMapRef": {"name": "roots"}}]},
        "model.fallbacks[0].caConfigMapRef needs an https",
    ),
    "certificates of a bucket that shows none": (
        {"store.s3.bucket": "agents", "store.s3.endpoint": "http://s3", "store.s3.caConfigMapRef.name": "roots"},
        "needs an https store.s3.endpoint",
    ),
    "certificates of a Redis that shows none": (
        {"store.redis.url": "redis://r", "store.redis.caConfigMapRef.name": "roots"},
        "needs a rediss store.redis.url",
    ),
    "a header that is the runner's own": (
        {**MODEL, "model.headers": {"AUTHORIZATION": "Bearer x"}},
        "model.headers.AUTHORIZATION is the runner's own to set",
    ),
    "a password in an address": ({"store.redis.url": "redis://:secret@redis"}, "url"),
    "two default stores": ({"devStore.enabled": True, "store.s3.bucket": "agents"}, "set either it or store"),
    "two places": ({"store.redis.url": "redis://r", "store.s3.bucket": "agents"}, "the default store is one place"),
    "a misspelt value": ({"replica": 1}, "replica"),
    "a misspelt value inside a block": ({"store.s3.buckt": "agents"}, "buckt"),
    "a replica count in words": ({"replicas": "two"}, "replicas"),
    "a pace that never comes": ({"clientConnection.qps": 0}, "qps"),
    "a log nobody can write": ({"log.format": "xml"}, "format"),
    "a namespace that cannot be": ({"watchNamespaces": ["Blue"]}, "watchNamespaces"),
    "a namespace named twice": ({"watchNamespaces": ["blue", "blue"]}, "watchNamespaces"),
    "a pace no Prometheus knows": ({"metrics.serviceMonitor.interval": "1s1m"}, "interval"),
    "no workers": ({"workers": 0}, "workers"),
    "a resync that never rests": ({"resyncSeconds": 1}, "resyncSeconds"),
    "an unknown pull policy": ({"image.runner.pullPolicy": "Sometimes"}, "pullPolicy"),
    "an address without a scheme": ({**MODEL, "model.baseURL": "api.example.com"}, "baseURL"),
    "a key inside an address": ({**MODEL, "model.baseURL": "https://u:secret@example.com/v1"}, "baseURL"),
    "a prefix that leaves its bucket": ({"store.s3.bucket": "agents", "store.s3.prefix": "../x"}, "prefix"),
}


@pytest.mark.parametrize("sentence", REFUSALS)
def test_values_that_cannot_work_are_refused_with_a_sentence(helm: Helm, chart: Path, sentence: str) -> None:
    values, says = REFUSALS[sentence]
    with pytest.raises(HelmError) as refused:
        helm.render(chart, **values)
    assert says in str(refused.value)


def test_images_are_pinned_by_their_digest_wherever_they_run(helm: Helm, chart: Path) -> None:
    digests = {f"image.{one}.digest": f"sha256:{64 * str(n)}" for n, one in enumerate(("operator", "devStore"))}
    objects = helm.render(chart, **digests, **{"devStore.enabled": True})
    images = {
        (one["kind"], each["image"])
        for one in objects
        if one["kind"] in {"Deployment", "Job"}
        for part in ("initContainers", "containers")
        for each in one["spec"]["template"]["spec"].get(part, ())
    }
    operator, store = (f"registry.example.com/agenttask-{name}@" for name in ("operator", "devstore"))
    assert images == {
        ("Deployment", operator + digests["image.operator.digest"]),
        ("Deployment", store + digests["image.devStore.digest"]),
        ("Job", operator + digests["image.operator.digest"]),
    }


def test_a_changed_configuration_rolls_the_operator(helm: Helm, chart: Path) -> None:
    before, same, after = (
        only(helm.render(chart, **values), "Deployment")["spec"]["template"]
        for values in ({}, {"replicas": 3}, {"store.s3.bucket": "agents"})
    )
    assert before == same
    assert before != after


def test_the_packaged_crd_is_the_one_of_the_api(helm: Helm, chart: Path) -> None:
    crd = only(helm.render(chart), "CustomResourceDefinition")
    source = yaml.safe_load((ROOT / "crds/agenttask.yaml").read_text())
    assert crd["spec"] == source["spec"]
    assert crd["metadata"]["name"] == source["metadata"]["name"]
    assert (CHART / "files/agenttask.yaml").is_symlink()


@pytest.mark.parametrize(
    ("enabled", "keep", "want"),
    [(True, True, [{"helm.sh/resource-policy": "keep"}]), (True, False, [None]), (False, True, [])],
)
def test_the_crd_is_installed_and_kept_as_the_values_say(
    helm: Helm, chart: Path, *, enabled: bool, keep: bool, want: list[Any]
) -> None:
    objects = helm.render(chart, **{"crds.enabled": enabled, "crds.keep": keep})
    crds = [one for one in objects if one["kind"] == "CustomResourceDefinition"]
    assert [crd["metadata"].get("annotations") for crd in crds] == want


def test_a_prometheus_is_asked_to_scrape_only_if_the_values_say_so(helm: Helm, chart: Path) -> None:
    quiet = helm.render(chart)
    assert not [one for one in quiet if one["kind"] in {"Service", "ServiceMonitor"}]
    assert "prometheus.io/scrape" not in only(quiet, "Deployment")["spec"]["template"]["metadata"]["annotations"]
    wish = {"enabled": True, "interval": "1m", "labels": {"release": "prometheus"}}
    told = helm.render(chart, **{"metrics.podAnnotations": True, "metrics.serviceMonitor": wish})
    template = only(told, "Deployment")["spec"]["template"]
    assert template["metadata"]["annotations"]["prometheus.io/port"] == "8080"
    service, monitor = only(told, "Service"), only(told, "ServiceMonitor")
    assert service["spec"]["selector"].items() <= template["metadata"]["labels"].items()
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    (endpoint,) = monitor["spec"]["endpoints"]
    assert (endpoint["port"], endpoint["interval"]) == (service["spec"]["ports"][0]["name"], "1m")


def test_a_second_release_with_namespaces_has_nothing_of_the_cluster_but_the_right_to_see_the_fence(
    helm: Helm, chart: Path
) -> None:
    once = dict.fromkeys(("crds.enabled", "admission.enabled", "rbac.aggregateClusterRoles"), False)
    objects = helm.render(chart, watchNamespaces=["blue", "red"], **once)
    shared = [one for one in objects if "namespace" not in one["metadata"]]
    assert [one["kind"] for one in shared] == ["ClusterRole", "ClusterRoleBinding"]
    assert [rule["resourceNames"] for rule in shared[0]["rules"]] == [["agenttask-status"]]
    roles = sorted((one["metadata"]["namespace"], one["metadata"]["name"]) for one in objects if one["kind"] == "Role")
    assert roles == [
        *(("agenttask-system", f"agenttask-{who}") for who in ("operator", "uninstall")),
        *((name, f"agenttask-{who}") for name in ("blue", "red") for who in ("operator-tasks", "runner")),
    ]
    for one in objects:
        if one["kind"] == "RoleBinding" and one["metadata"]["name"] == "agenttask-runner":
            (subject,) = one["subjects"]
            assert subject["name"] == f"system:serviceaccounts:{one['metadata']['namespace']}"


def test_roles_in_namespaces_grant_what_the_cluster_role_grants(helm: Helm, chart: Path) -> None:
    wide = helm.render(chart)
    narrow = helm.render(chart, watchNamespaces=["blue"])
    fence = only(narrow, "ClusterRole", name="agenttask-operator")["rules"]
    role = only(narrow, "Role", name="agenttask-operator-tasks")["rules"]
    assert only(wide, "ClusterRole", name="agenttask-operator")["rules"] == [*fence, *role]
    runner = only(narrow, "Role", name="agenttask-runner")["rules"]
    assert only(wide, "ClusterRole", name="agenttask-runner")["rules"] == runner


def test_every_pod_passes_pod_security_restricted(helm: Helm, chart: Path, namespace: str) -> None:
    admin = Client.from_kubeconfig(helm.kubeconfig)
    labels = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    admin.must("PATCH", f"/api/v1/namespaces/{namespace}", body=labels, content_type="application/merge-patch+json")
    deployments = [one for one in helm.render(chart, **{"devStore.enabled": True}) if one["kind"] == "Deployment"]
    accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    for account in ("agenttask-operator", "store"):
        admin.must("POST", accounts, body={"metadata": {"name": account}})
    for one in deployments:
        pod = {"metadata": {"name": one["metadata"]["name"]}, "spec": one["spec"]["template"]["spec"]}
        pod["spec"].setdefault("serviceAccountName", "store")
        path = f"/api/v1/namespaces/{namespace}/pods"
        answer = admin.send("POST", path, body=pod, dryRun="All", fieldValidation="Strict")
        assert answer.accepted, answer.message
        for container in pod["spec"]["containers"] + pod["spec"].get("initContainers", []):
            assert container["securityContext"]["readOnlyRootFilesystem"]
    assert len(deployments) == 2


def test_the_development_store_says_that_it_is_temporary(helm: Helm, chart: Path) -> None:
    store = only(helm.render(chart, **{"devStore.enabled": True}), "Deployment", name="agenttask-devstore")
    assert store["metadata"]["annotations"]["kubernetes.io/description"].startswith("TEMPORARY")
    assert {"name": "data", "emptyDir": {"sizeLimit": "1Gi"}} in store["spec"]["template"]["spec"]["volumes"]


def leaves(values: Any, at: str = "") -> list[str]:
    """Dotted paths of all values; an empty or free-form block is one."""
    if not isinstance(values, dict) or not values or at in FREE_FORM:
        return [at]
    return [leaf for key, value in values.items() for leaf in leaves(value, f"{at}.{key}".lstrip("."))]


FREE_FORM: Final = {"resources", "devStore.resources"}


def test_every_value_is_documented_and_in_the_schema() -> None:
    text = (CHART / "values.yaml").read_text()
    documented, lines = set(), text.splitlines()
    for number, line in enumerate(lines):
        if line.strip().startswith("# -- "):
            documented.add(lines[number + 1].strip().split(":")[0])
    schema = json.loads((CHART / "values.schema.json").read_text())
    for path in leaves(yaml.safe_load(text)):
        node = schema
        for key in path.split("."):
            node = node["properties"][key]
            if "$ref" in node:
                node = schema["$defs"][node["$ref"].rsplit("/", 1)[1]]
        assert path.rsplit(".", 1)[-1] in documented, path
    assert text.count("# -- ") == len(leaves(yaml.safe_load(text)))


def test_chart_and_packages_have_one_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    versions = {chart["version"], chart["appVersion"]}
    for package in ("operator", "runner"):
        versions.add(tomllib.loads((ROOT / package / "pyproject.toml").read_text())["project"]["version"])
    assert len(versions) == 1
