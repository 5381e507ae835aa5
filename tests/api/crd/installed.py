"""The API and its admission policy as this tree has them, installed under a group of their own.

So neither an installed operator nor the version of the chart that happens to be installed takes part in a test.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

from tests.api.client import APPLY, MERGE, Client, Object
from tests.api.waiting import until

ROOT: Final = Path(__file__).parents[3]
_GROUP: Final = "agenttask.dev"
_COLLECTIONS: Final = {
    "CustomResourceDefinition": "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
    "ValidatingAdmissionPolicy": "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies",
    "ValidatingAdmissionPolicyBinding": "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings",
    "ClusterRole": "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "ServiceAccount": "/api/v1/namespaces/{namespace}/serviceaccounts",
}


@dataclass(frozen=True, kw_only=True)
class Caller:
    """A pod that exists in the API alone, and a client that bears a token bound to it."""

    client: Client
    uid: str


@dataclass(frozen=True, kw_only=True)
class Copy:
    """One installed copy: `group` takes the place of agenttask.dev, and tasks live in `namespace`."""

    admin: Client
    name: str
    namespace: str

    @property
    def group(self) -> str:
        return f"{self.name}.{_GROUP}"

    @property
    def operator(self) -> str:
        """Name of the operator's service account."""
        return f"{self.name}-agenttask-operator"

    def path(self, *, task: str | None = None, subresource: str | None = None) -> str:
        """URL path of the collection, of one task, or of its subresource."""
        parts = [f"/apis/{self.group}/v1alpha1/namespaces/{self.namespace}/agenttasks", task, subresource]
        return "/".join(part for part in parts if part)

    def manifest(self, *, name: str, spec: Object) -> Object:
        """A task."""
        return {
            "apiVersion": f"{self.group}/v1alpha1",
            "kind": "AgentTask",
            "metadata": {"name": name},
            "spec": spec,
        }

    def create(self, *, name: str, spec: Object | None = None, status: Object | None = None) -> Object:
        """Create a task and, as an admin, give it a status."""
        made = self.admin.must("POST", self.path(), body=self.manifest(name=name, spec=spec or {"prompt": "Hello."}))
        if status is not None:
            path = self.path(task=name, subresource="status")
            made = self.admin.must("PATCH", path, body={"status": status}, content_type=MERGE)
        return made

    def install(self) -> None:
        """Install everything and wait until the server acts on it."""
        for document in self._documents():
            url = _url(document)
            self.admin.must("PATCH", url, body=document, content_type=APPLY, fieldManager="tests", force="true")
        until("the copy of the CRD is served", lambda: self.admin.send("GET", self.path()).accepted)
        self.create(name="probe")
        unbound = self.token(service_account=self.service_account("probe"))
        until("the copy of the policy is enforced", lambda: self._policy_answers(unbound))

    def remove(self) -> None:
        """Delete everything, tasks included."""
        for document in self._documents():
            self.admin.send("DELETE", _url(document))

    def service_account(self, name: str) -> str:
        """Make a service account and return its name."""
        path = f"/api/v1/namespaces/{self.namespace}/serviceaccounts"
        self.admin.must("POST", path, body={"metadata": {"name": name}})
        return name

    def token(self, *, service_account: str, pod: Object | None = None) -> Client:
        """A client that is this service account, and this pod of it where one is given."""
        spec: Object = {"audiences": [], "expirationSeconds": 3600}
        if pod is not None:
            spec["boundObjectRef"] = {"apiVersion": "v1", "kind": "Pod", **pod}
        path = f"/api/v1/namespaces/{self.namespace}/serviceaccounts/{service_account}/token"
        made = self.admin.must("POST", path, body={"spec": spec})
        return self.admin.with_token(made["status"]["token"])

    def caller(self, name: str) -> Caller:
        """Make a pod that no scheduler takes, and become it."""
        account = self.service_account(name)
        pod = {
            "metadata": {"name": name},
            "spec": {
                "serviceAccountName": account,
                "schedulerName": "nobody",
                "containers": [{"name": "runner", "image": "none.invalid/none"}],
            },
        }
        uid = self.admin.must("POST", f"/api/v1/namespaces/{self.namespace}/pods", body=pod)["metadata"]["uid"]
        return Caller(client=self.token(service_account=account, pod={"name": name, "uid": uid}), uid=uid)

    def _policy_answers(self, unbound: Client) -> bool:
        body = {"status": {"progress": {"step": 1}}}
        path = self.path(task="probe", subresource="status")
        answer = unbound.send("PATCH", path, body=body, content_type=MERGE, dryRun="All")
        return answer.status == 422 and "only the pod of the current attempt" in answer.message

    def _documents(self) -> list[Object]:
        command = ["helm", "template", self.name, f"{ROOT}/charts/agenttask", "--namespace", self.namespace]
        images = [f"--set=image.{image}.repository=none.invalid/none" for image in ("operator", "runner")]
        rendered = subprocess.run(
            [*command, *images],
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        ).stdout
        own = rendered.replace(_GROUP, self.group).replace("agenttask-status", f"{self.name}-status")
        return [one for one in yaml.safe_load_all(own) if one and one["kind"] in _COLLECTIONS]


def _url(document: Object) -> str:
    metadata = document["metadata"]
    collection = _COLLECTIONS[document["kind"]].format(namespace=metadata.get("namespace"))
    return f"{collection}/{metadata['name']}"
