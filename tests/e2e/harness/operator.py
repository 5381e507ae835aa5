"""The installed operator as the tests see it: its pods, its leader, and whether it is up."""

from __future__ import annotations

from dataclasses import dataclass

from tests.e2e.harness.kube import Api, Kind, Object
from tests.e2e.harness.processes import kill, with_environment
from tests.e2e.harness.wait import until

IMAGE = "agenttask-operator"


@dataclass(frozen=True, kw_only=True)
class Operator:
    """The operator of one release."""

    api: Api
    namespace: str

    def deployment(self) -> Object:
        """Its Deployment."""
        found = [d for d in self.api.list(Kind.DEPLOYMENT, namespace=self.namespace) if IMAGE in str(d["spec"])]
        assert found, f"no operator in {self.namespace}: make cluster-up installs it"
        return found[0]

    def pods(self) -> list[Object]:
        """Its pods that run."""
        pods = self.api.list(Kind.POD, namespace=self.namespace)
        return [pod for pod in pods if IMAGE in str(pod["spec"]) and pod["status"].get("phase") == "Running"]

    def leader(self) -> str:
        """Name of the pod that holds the lease, once one does."""

        def holder() -> str | None:
            leases = self.api.list(Kind.LEASE, namespace=self.namespace)
            holders = [str(lease["spec"].get("holderIdentity", "")) for lease in leases]
            names = [str(pod["metadata"]["name"]) for pod in self.pods()]
            return next((name for name in names if any(name in one for one in holders)), None)

        return until(holder, what="one of the operator's pods leads", seen=self.pods)

    def kill(self, *, pods: list[str]) -> None:
        """SIGKILL the operator's process in each of these pods; their kubelet starts it again."""
        for pod in pods:
            assert kill(with_environment("POD_NAME", pod)), f"no process of {pod} on this machine"

    def renew(self) -> None:
        """Replace pods whose container was killed: their kubelet would wait longer before each further restart."""
        for pod in self.api.list(Kind.POD, namespace=self.namespace):
            restarts = sum(c["restartCount"] for c in pod["status"].get("containerStatuses", []))
            if IMAGE in str(pod["spec"]) and restarts:
                self.api.delete(Kind.POD, pod["metadata"]["name"], namespace=self.namespace)

    def wait_ready(self) -> None:
        """Wait until every replica is available, with the newest template."""

        def ready() -> bool:
            deployment = self.deployment()
            status, wanted = deployment["status"], deployment["spec"]["replicas"]
            current = status.get("observedGeneration", 0) >= deployment["metadata"]["generation"]
            counts = [status.get(key, 0) for key in ("replicas", "updatedReplicas", "availableReplicas")]
            # The Deployment's own count lags behind a pod that has just been deleted.
            staying = [pod for pod in self.pods() if "deletionTimestamp" not in pod["metadata"]]
            return bool(current and wanted and [*counts, len(staying)] == [wanted] * 4)

        until(ready, what="the operator is ready", seen=lambda: self.deployment()["status"])
