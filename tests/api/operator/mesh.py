"""A mutating admission webhook that does to runner pods what service meshes and mirrors of registries do."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

from agenttask import contract

from tests.api.client import Client, Object
from tests.api.store.certificates import Authority
from tests.api.waiting import until

LABEL: Final = ("mesh.example.com/mode", "mutual")
ANNOTATION: Final = ("mesh.example.com/status", '{"containers": ["mesh"]}')
MIRROR: Final = "mirror.invalid/"
SIDECAR: Final[Object] = {
    "name": "mesh",
    "image": "none.invalid/mesh",
    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
}
_CONFIGURATIONS: Final = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"


def mutated(pod: Object) -> list[Object]:
    """The JSON patch: the proxy comes first, so that it runs before the runner does."""
    meta, containers = pod["metadata"], pod["spec"]["containers"]
    mirrored = [{**one, "image": MIRROR + one["image"].partition("/")[2]} for one in containers]
    return [
        {"op": "add", "path": "/metadata/labels", "value": {**meta.get("labels", {}), LABEL[0]: LABEL[1]}},
        {
            "op": "add",
            "path": "/metadata/annotations",
            "value": {**meta.get("annotations", {}), ANNOTATION[0]: ANNOTATION[1]},
        },
        {"op": "replace", "path": "/spec/containers", "value": [SIDECAR, *mirrored]},
    ]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        patch = json.dumps(mutated(review["request"]["object"])).encode()
        answer = {
            "uid": review["request"]["uid"],
            "allowed": True,
            "patchType": "JSONPatch",
            "patch": base64.b64encode(patch).decode(),
        }
        body = json.dumps({"apiVersion": review["apiVersion"], "kind": review["kind"], "response": answer}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        # Else a connection that is kept would be served after `stop`.
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return None


@contextmanager
def webhook(*, admin: Client, address: str, namespace: str, name: str, folder: Path) -> Iterator[Webhook]:
    """The webhook for the pods of the tasks of one namespace, from when the server asks it until the block ends.

    Args:
        admin: registers it.
        address: of this machine, at which the API server reaches it.
        namespace: whose pods it changes.
        name: of its registration.
        folder: for its certificate.
    """
    authority = Authority(folder)
    made = Webhook(address=address, authority=authority)
    made.serve()
    configuration = {
        "metadata": {"name": name},
        "webhooks": [
            {
                "name": "pods.mesh.example.com",
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "failurePolicy": "Fail",
                "timeoutSeconds": 10,
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "objectSelector": {"matchExpressions": [{"key": contract.LABEL_TASK, "operator": "Exists"}]},
                "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
                "clientConfig": {
                    "url": f"https://{address}:{made.port}/",
                    "caBundle": base64.b64encode(authority.certificate.encode()).decode(),
                },
            }
        ],
    }
    try:
        admin.must("POST", _CONFIGURATIONS, body=configuration)
        until("the server asks the webhook", lambda: _asked(admin, namespace))
        yield made
    finally:
        admin.send("DELETE", f"{_CONFIGURATIONS}/{name}")
        made.stop()


class Webhook:
    """Its server."""

    def __init__(self, *, address: str, authority: Authority) -> None:
        self._address = address
        self._tls = authority.certify(address).context()
        self.port = 0

    def serve(self) -> None:
        """Begin, or begin again at the same port."""
        self._server = ThreadingHTTPServer((self._address, self.port), _Handler)
        self._server.daemon_threads = True
        self._server.socket = self._tls.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def stop(self) -> None:
        """Be out of order."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _asked(admin: Client, namespace: str) -> bool:
    pod = {
        "metadata": {"name": "mesh-probe", "labels": {contract.LABEL_TASK: "probe"}},
        "spec": {
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{**SIDECAR, "name": "other"}],
        },
    }
    made = admin.send("POST", f"/api/v1/namespaces/{namespace}/pods", body=pod, dryRun="All")
    return made.accepted and LABEL[0] in made.body["metadata"]["labels"]
