"""The S3 server as a pod, for clusters whose pods may not reach this machine: versitygw on a disk that dies with it.

This machine reaches it through `kubectl port-forward`, the one way that works with every cluster and every engine.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from tests.cluster import processes
from tests.cluster.s3 import BUCKET, REGION, Credentials
from tests.cluster.shell import run, wait_until
from tests.ports import reserved

_PORT: Final = 7070
_NAME: Final = "s3"


@dataclass(frozen=True, kw_only=True)
class S3Pod:
    """Runs the server in a namespace and forwards a port of this machine to it."""

    kubeconfig: Path
    namespace: str
    image: str
    credentials: Credentials
    node_selector: dict[str, str]
    """Labels of the node it runs on: where tests drain and stop nodes, the store has to stay out of the way."""
    owner: Path
    """Folder whose processes this one's forwarding belongs to, and where its log goes."""

    @property
    def endpoint(self) -> str:
        """The server as pods reach it."""
        return f"http://{_NAME}.{self.namespace}.svc:{_PORT}"

    def start(self) -> str:
        """Start it and return the address at which this machine reaches it; the bucket `BUCKET` exists then."""
        manifest = json.dumps({"apiVersion": "v1", "kind": "List", "items": self._manifests()})
        self._kubectl("apply", "-f", "-", stdin=manifest)
        self._kubectl("rollout", "status", f"deployment/{_NAME}", "--timeout=300s")
        with reserved() as port:
            forward = f"kubectl port-forward service/{_NAME} {port}:{_PORT}"
            # It ends with each connection that breaks, and with the pod.
            loop = f"while true; do {forward} --kubeconfig {self.kubeconfig} -n {self.namespace}; sleep 0.5; done"
            log = self.owner / "s3-forward.log"
            processes.start(["bash", "-c", loop], owner=self.owner, role="s3-forward", log=log)
            address = f"http://127.0.0.1:{port}"
            wait_until("S3 server answers", lambda: _answers(address))
        return address

    def _kubectl(self, *words: str, stdin: str | None = None) -> None:
        run(
            shutil.which("kubectl") or "kubectl",
            "--kubeconfig",
            self.kubeconfig,
            "-n",
            self.namespace,
            *words,
            stdin=stdin,
            timeout_seconds=310,
        )

    def _manifests(self) -> list[dict[str, Any]]:
        labels = {"app.kubernetes.io/name": "agenttask-test-s3"}
        metadata = {"name": _NAME, "labels": labels}
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": metadata,
            "stringData": {
                "ROOT_ACCESS_KEY": self.credentials.access_key_id,
                "ROOT_SECRET_KEY": self.credentials.secret_access_key,
            },
        }
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"selector": labels, "ports": [{"port": _PORT}]},
        }
        # To this server a bucket is a folder.
        serve = (
            f"mkdir -p /data/objects/{BUCKET} /data/sidecar && exec versitygw --port :{_PORT} --health /healthz"
            f" --region {REGION} --quiet posix --sidecar /data/sidecar /data/objects"
        )
        container = {
            "name": "s3",
            "image": self.image,
            "imagePullPolicy": "IfNotPresent",
            "command": ["sh", "-c", serve],
            "envFrom": [{"secretRef": {"name": _NAME}}],
            "readinessProbe": {"httpGet": {"path": "/healthz", "port": _PORT}, "periodSeconds": 1},
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
            "volumeMounts": [{"name": "data", "mountPath": "/data"}],
        }
        pod = {
            "containers": [container],
            "volumes": [{"name": "data", "emptyDir": {}}],
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 1,
            "nodeSelector": self.node_selector,
            "tolerations": [{"key": "node-role.kubernetes.io/control-plane", "operator": "Exists"}],
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 65532,
                "runAsGroup": 65532,
                "fsGroup": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
        }
        deployment = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {
                "strategy": {"type": "Recreate"},
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        }
        return [secret, service, deployment]


def _answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/healthz", timeout=10, trust_env=False).is_success
    except httpx.TransportError:
        return False
