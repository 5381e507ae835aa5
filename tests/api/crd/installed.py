"""The API and its admission policy as this tree has them, installed under a group of their own.

So neither an installed operator nor the version of the chart that happens to be installed takes part in a test.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.api.charts import Release
from tests.api.client import MERGE, Client, Object
from tests.api.waiting import until


@dataclass(frozen=True, kw_only=True)
class Caller:
    """A pod that exists in the API alone, and a client that bears a token bound to it."""

    client: Client
    uid: str


@dataclass(frozen=True, kw_only=True)
class Copy:
    """One installed copy: `group` takes the place of agenttask.dev, and tasks live in `namespace`."""

    admin: Client
    group: str
    namespace: str

    @classmethod
    def of(cls, release: Release) -> Copy:
        """The copy that a release installed, once the server acts on it."""
        copy = cls(admin=release.admin, group=release.group, namespace=release.namespace)
        until("the copy of the CRD is served", lambda: copy.admin.send("GET", copy.path()).accepted)
        copy.create(name="probe")
        unbound = copy.token(service_account=copy.service_account("probe"))
        until("the copy of the policy is enforced", lambda: copy.policy_answers(unbound))
        return copy

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

    def person(self, name: str) -> Client:
        """Somebody whom a role lets patch the status of tasks, and nothing else."""
        roles = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{self.namespace}"
        rule = {"apiGroups": [self.group], "resources": ["agenttasks/status"], "verbs": ["patch"]}
        self.admin.must("POST", f"{roles}/roles", body={"metadata": {"name": name}, "rules": [rule]})
        binding = {
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name}],
        }
        self.admin.must("POST", f"{roles}/rolebindings", body=binding)
        person = self.admin.impersonating(name)
        until("the role counts", lambda: self.policy_answers(person))
        return person

    def policy_answers(self, who: Client) -> bool:
        """Whether it is the policy that refuses somebody who is no pod."""
        body = {"status": {"progress": {"step": 1}}}
        path = self.path(task="probe", subresource="status")
        answer = who.send("PATCH", path, body=body, content_type=MERGE, dryRun="All")
        return answer.status == 422 and "only the pod of the current attempt" in answer.message
