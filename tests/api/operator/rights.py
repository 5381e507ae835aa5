"""Rights one by one: those that a role gives, and users who hold some of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, NamedTuple

from agenttask_operator.cluster import Cluster
from kubernetes.aio import client, config

from tests.api.client import Client, Object
from tests.api.operator.world import World
from tests.api.waiting import until
from tests.cluster.environment import Environment

RBAC: Final = "/apis/rbac.authorization.k8s.io/v1"


class Right(NamedTuple):
    """A verb on a resource of an API group; our own group is `own`."""

    group: str
    resource: str
    verb: str


def rights(rule: Object, *, group: str) -> Iterator[Right]:
    """Those that a rule gives; `group` is our own."""
    for name in rule["apiGroups"]:
        for resource in rule["resources"]:
            yield from (Right("own" if name == group else name, resource, verb) for verb in rule["verbs"])


def remaining(rule: Object, *, right: Right, group: str) -> Iterator[Object]:
    """The rule, one resource at a time, without one right."""
    for resource in rule["resources"]:
        (name,) = rule["apiGroups"]
        told = "own" if name == group else name
        verbs = [verb for verb in rule["verbs"] if (told, resource, verb) != right]
        if verbs:
            yield {**rule, "resources": [resource], "verbs": verbs}


@contextmanager
def granted(world: World, given: Sequence[Object]) -> Iterator[str]:
    """A user with the rights of these rules, and no others."""
    admin, name = world.copy.admin, f"{world.name}-less"
    binding = {
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name}],
    }
    admin.must("POST", f"{RBAC}/clusterroles", body={"metadata": {"name": name}, "rules": given})
    admin.must("POST", f"{RBAC}/clusterrolebindings", body=binding)
    try:
        # They come all at once, with the binding.
        until("the rights are there", lambda: _holds(admin, user=name, rule=given[0], namespace=world.copy.namespace))
        yield name
    finally:
        admin.must("DELETE", f"{RBAC}/clusterrolebindings/{name}")
        admin.must("DELETE", f"{RBAC}/clusterroles/{name}")


def _holds(admin: Client, *, user: str, rule: Object, namespace: str) -> bool:
    resource, _, subresource = rule["resources"][0].partition("/")
    asked = {
        "namespace": namespace,
        "group": rule["apiGroups"][0],
        "resource": resource,
        "subresource": subresource,
        "verb": rule["verbs"][0],
        "name": rule.get("resourceNames", [""])[0],
    }
    body = {"spec": {"user": user, "resourceAttributes": asked}}
    answer = admin.must("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", body=body)
    return bool(answer["status"]["allowed"])


@asynccontextmanager
async def acting(user: str, *, namespace: str) -> AsyncIterator[Cluster]:
    """The operator's session, as somebody else."""
    environment = Environment.read()
    assert environment is not None
    configuration: Any = client.Configuration()
    await config.load_kube_config(config_file=str(environment.kubeconfig), client_configuration=configuration)
    configuration.disable_strict_ssl_verification = True
    api = client.ApiClient(configuration)
    api.set_default_header("Impersonate-User", user)
    cluster = Cluster(api, namespaces=[namespace])
    try:
        yield cluster
    finally:
        await cluster.close()
