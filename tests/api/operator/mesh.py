"""A mutating admission webhook that does to runner pods what service meshes and mirrors of registries do."""

from __future__ import annotations

import base64
import functools
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


def mutated(pod: Object, *, sidecar: Object, mirror: str) -> list[Object]:
    """The JSON patch: the sidecar comes first, so that it runs before the runner does."""
    meta, containers = pod["metadata"], pod["spec"]["containers"]
    beside = {**{key: containers[0][key] for key in _SHARED if key in containers[0]}, **sidecar}
    if mirror:
        containers = [{**one, "image": mirror + one["image"].partition("/")[2]} for one in containers]
    labels = {**meta.get("labels", {}), LABEL[0]: LABEL[1]}
    annotations = {**meta.get("annotations", {}), ANNOTATION[0]: ANNOTATION[1]}
    return [
        {"op": "add", "path": "/metadata/labels", "value": labels},
        {"op": "add", "path": "/metadata/annotations", "value": annotations},
        {"op": "replace", "path": "/spec/containers", "value": [beside, *containers]},
    ]


_SHARED: Final = ("image", "imagePullPolicy")
"""What a sidecar that says nothing of it has from the runner."""


@contextmanager
def webhook(
    *, admin: Client, address: str, namespace: str, folder: Path, sidecar: Object = SIDECAR, mirror: str = MIRROR
) -> Iterator[Webhook]:
    """The webhook for the pods of the tasks of one namespace, from when the server asks it until the block ends.

    Args:
        admin: registers it.
        address: of this machine, at which the API server reaches it.
        namespace: whose pods it changes.
        folder: for its certificate.
        sidecar: the container it adds.
        mirror: where it takes the other images from; empty: from where they are.
    """
    authority = Authority(folder)
    made = Webhook(address=address, authority=authority, sidecar=sidecar, mirror=mirror)
    made.serve()
    name = f"mesh-{namespace}"
    configuration = {
        "metadata": {"name": name},
        "webhooks": [
            {
                "name": "pods.mesh.example.com",
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "failurePolicy": "Fail",
                "timeoutSeconds": 30,
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

    def __init__(self, *, address: str, authority: Authority, sidecar: Object, mirror: str) -> None:
        self._address = address
        self._tls = authority.certify(address).context()
        self._patch = functools.partial(mutated, sidecar=sidecar, mirror=mirror)
        self.port = 0

    def review(self, asked: Object) -> Object:
        """The answer to an AdmissionReview."""
        patch = json.dumps(self._patch(asked["request"]["object"])).encode()
        answer = {
            "uid": asked["request"]["uid"],
            "allowed": True,
            "patchType": "JSONPatch",
            "patch": base64.b64encode(patch).decode(),
        }
        return {"apiVersion": asked["apiVersion"], "kind": asked["kind"], "response": answer}

    def handler(self) -> type[BaseHTTPRequestHandler]:
        """What answers a connection."""
        webhook = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                body = json.dumps(webhook.review(asked)).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                # Else a connection that is kept would be served after `stop`.
                self.send_header("Connection", "close")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                return None

        return Handler

    def serve(self) -> None:
        """Begin, or begin again at the same port."""
        self._server = ThreadingHTTPServer((self._address, self.port), self.handler())
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
