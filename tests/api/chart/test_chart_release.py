"""A release from the packaged archive on a real API server: what it grants, and what its life leaves behind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import pytest

from tests.api.charts import Release
from tests.api.client import Object
from tests.api.waiting import until


@dataclass(frozen=True, kw_only=True)
class Access:
    """`who` may, or may not, do `verb` on `resource` (group/resource/subresource, "own" for our API group)."""

    who: str
    verb: str
    resource: str
    allowed: bool
    name: str = ""
    elsewhere: bool = False
    """Asked for another namespace than the operator's."""


def may(who: str, verb: str, resource: str, **more: Any) -> Access:
    return Access(who=who, verb=verb, resource=resource, allowed=True, **more)


def may_not(who: str, verb: str, resource: str, **more: Any) -> Access:
    return Access(who=who, verb=verb, resource=resource, allowed=False, **more)


POLICIES: Final = "admissionregistration.k8s.io/validatingadmissionpolicies"
LEASES: Final = "coordination.k8s.io/leases"

ACCESS: Final = [
    *(
        may("operator", verb, "own/agenttasks", elsewhere=True)
        for verb in ("get", "list", "watch", "patch", "delete", "supervise")
    ),
    may("operator", "patch", "own/agenttasks/status", elsewhere=True),
    *(may("operator", verb, "/pods", elsewhere=True) for verb in ("get", "list", "watch", "create", "delete")),
    *(may("operator", verb, "events.k8s.io/events", elsewhere=True) for verb in ("create", "list", "patch")),
    may("operator", "get", POLICIES, name="{group}-status"),
    may("operator", "create", LEASES),
    may("operator", "update", LEASES, name="{release}-agenttask-operator"),
    may_not("operator", "update", LEASES, name="another"),
    may_not("operator", "create", LEASES, elsewhere=True),
    may_not("operator", "get", POLICIES, name="another"),
    may_not("operator", "get", "/secrets"),
    may_not("operator", "list", "/secrets", elsewhere=True),
    may_not("operator", "update", "own/agenttasks"),
    may_not("operator", "create", "own/agenttasks"),
    may_not("operator", "patch", "/pods"),
    may_not("operator", "create", "/pods/exec"),
    may_not("operator", "create", "/serviceaccounts/token"),
    may("runner", "patch", "own/agenttasks/status"),
    may("runner", "patch", "own/agenttasks/status", elsewhere=True),
    may_not("runner", "update", "own/agenttasks/status"),
    may_not("runner", "get", "own/agenttasks"),
    may_not("runner", "patch", "own/agenttasks"),
    may_not("runner", "supervise", "own/agenttasks"),
    may_not("runner", "get", "/pods"),
    may_not("runner", "get", "/secrets"),
    may("viewer", "get", "own/agenttasks"),
    may("viewer", "watch", "own/agenttasks"),
    may_not("viewer", "create", "own/agenttasks"),
    may_not("viewer", "patch", "own/agenttasks/status"),
    may("editor", "create", "own/agenttasks"),
    may("editor", "patch", "own/agenttasks"),
    may("editor", "deletecollection", "own/agenttasks"),
    may_not("editor", "patch", "own/agenttasks/status"),
    may_not("editor", "supervise", "own/agenttasks"),
]


@pytest.fixture(scope="module")
def people(release: Release) -> None:
    """One viewer and one editor, by the cluster's own roles `view` and `edit` in the release's namespace."""
    for role, who in (("view", "viewer"), ("edit", "editor")):
        binding = {
            "metadata": {"name": who},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": who}],
        }
        path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{release.namespace}/rolebindings"
        release.admin.must("POST", path, body=binding)
    # Roles are aggregated one by one, and each kind of binding is known to the authorizer by a watch of its own.
    until("everyone may do what their part needs", lambda: all(asked(release, one) for one in ACCESS if one.allowed))


@pytest.mark.usefixtures("people")
def test_everyone_may_do_what_their_part_needs_and_no_more(release: Release) -> None:
    assert [one for one in ACCESS if asked(release, one) != one.allowed] == []


def asked(release: Release, access: Access) -> bool:
    """Ask the server's authorizer."""
    namespace = f"{release.name}-else" if access.elsewhere else release.namespace
    accounts = f"system:serviceaccounts:{release.namespace}"
    user, groups = {
        "operator": (f"system:serviceaccount:{release.namespace}:{release.name}-agenttask-operator", [accounts]),
        "runner": (f"system:serviceaccount:{namespace}:any", [f"system:serviceaccounts:{namespace}"]),
        "viewer": ("viewer", []),
        "editor": ("editor", []),
    }[access.who]
    if access.who in {"operator", "runner"}:
        groups = [*groups, "system:serviceaccounts"]
    group, resource, *sub = access.resource.split("/")
    attributes = {
        "verb": access.verb,
        "group": release.group if group == "own" else group,
        "resource": resource,
        "subresource": "".join(sub),
        "name": access.name.format(group=release.group, release=release.name),
        "namespace": namespace if not access.resource.startswith("admission") else "",
    }
    body: Object = {
        "spec": {"user": user, "groups": [*groups, "system:authenticated"], "resourceAttributes": attributes}
    }
    got = release.admin.must("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", body=body)
    return bool(got["status"]["allowed"])


def test_an_upgrade_changes_the_configuration_and_rolls_the_operator(release: Release) -> None:
    release.upgrade()
    before = operator(release)
    release.upgrade(**{"store.s3.bucket": "others"})
    after = operator(release)
    path = f"/api/v1/namespaces/{release.namespace}/configmaps/{release.name}-agenttask-operator"
    assert "others" in release.admin.must("GET", path)["data"]["config.yaml"]
    assert before["spec"]["template"] != after["spec"]["template"]


def test_an_upgrade_keeps_the_keys_of_the_development_store(release: Release) -> None:
    path = f"/api/v1/namespaces/{release.namespace}/secrets/{release.name}-agenttask-devstore"
    release.upgrade(**{"devStore.enabled": True})
    before = release.admin.must("GET", path)["data"]
    release.upgrade(**{"devStore.enabled": True, "devStore.sizeLimit": "2Gi"})
    assert release.admin.must("GET", path)["data"] == before
    release.upgrade()
    assert release.admin.send("GET", path).status == 404


def test_uninstalling_keeps_the_tasks_unless_told_otherwise_and_leaves_nothing_else(release: Release) -> None:
    release.upgrade()
    task = {
        "apiVersion": f"{release.group}/v1alpha1",
        "kind": "AgentTask",
        "metadata": {"name": "kept"},
        "spec": {"prompt": "Hello."},
    }
    tasks = f"/apis/{release.group}/v1alpha1/namespaces/{release.namespace}/agenttasks"
    until("the API is served", lambda: release.admin.send("GET", tasks).accepted)
    release.admin.must("POST", tasks, body=task)
    release.uninstall()
    assert release.admin.send("GET", f"{tasks}/kept").accepted
    assert left(release) == []

    release.upgrade(**{"crds.keep": False})
    assert release.admin.send("GET", f"{tasks}/kept").accepted
    release.uninstall()
    until("the CRD is gone", lambda: release.admin.send("GET", release.crd).status == 404)


def operator(release: Release) -> Object:
    """The operator's Deployment."""
    path = f"/apis/apps/v1/namespaces/{release.namespace}/deployments/{release.name}-agenttask-operator"
    return release.admin.must("GET", path)


def left(release: Release) -> list[str]:
    """Objects of the release that are still there, by URL path, the CRD aside."""
    rbac, admission = "/apis/rbac.authorization.k8s.io/v1", "/apis/admissionregistration.k8s.io/v1"
    collections = [
        *(f"{rbac}/{plural}" for plural in ("clusterroles", "clusterrolebindings")),
        *(f"{admission}/validatingadmissionpolic{end}" for end in ("ies", "ybindings")),
        *(f"/api/v1/namespaces/{release.namespace}/{plural}" for plural in ("configmaps", "secrets", "services")),
        f"/api/v1/namespaces/{release.namespace}/serviceaccounts",
        *(f"{rbac}/namespaces/{release.namespace}/{plural}" for plural in ("roles", "rolebindings")),
        f"/apis/apps/v1/namespaces/{release.namespace}/deployments",
    ]
    selector = f"app.kubernetes.io/instance={release.name}"
    found = []
    for path in collections:
        answer = release.admin.send("GET", path, labelSelector=selector)
        found += [f"{path}/{one['metadata']['name']}" for one in answer.body["items"]]
    return found
