"""A small typed client of the Kubernetes API for the tests: plain JSON over one HTTP session.

Authentication is whatever the kubeconfig says (the kubernetes package reads it, exec plugins included).
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import httpx
from kubernetes.client import Configuration
from kubernetes.config import load_kube_config

Object = dict[str, Any]

FIELD_MANAGER = "agenttask-tests"


class Kind(Enum):
    """What the tests read and write: (API prefix, plural, namespaced)."""

    NAMESPACE = ("/api/v1", "namespaces", False)
    NODE = ("/api/v1", "nodes", False)
    POD = ("/api/v1", "pods", True)
    SECRET = ("/api/v1", "secrets", True)
    EVENT = ("/api/v1", "events", True)
    QUOTA = ("/api/v1", "resourcequotas", True)
    VOLUME = ("/api/v1", "persistentvolumes", False)
    CLAIM = ("/api/v1", "persistentvolumeclaims", True)
    CONFIG_MAP = ("/api/v1", "configmaps", True)
    SERVICE = ("/api/v1", "services", True)
    DEPLOYMENT = ("/apis/apps/v1", "deployments", True)
    JOB = ("/apis/batch/v1", "jobs", True)
    LEASE = ("/apis/coordination.k8s.io/v1", "leases", True)
    CRD = ("/apis/apiextensions.k8s.io/v1", "customresourcedefinitions", False)
    PRIORITY_CLASS = ("/apis/scheduling.k8s.io/v1", "priorityclasses", False)
    FLAVOR = ("/apis/kueue.x-k8s.io/v1beta2", "resourceflavors", False)
    CLUSTER_QUEUE = ("/apis/kueue.x-k8s.io/v1beta2", "clusterqueues", False)
    LOCAL_QUEUE = ("/apis/kueue.x-k8s.io/v1beta2", "localqueues", True)
    WORKLOAD = ("/apis/kueue.x-k8s.io/v1beta2", "workloads", True)
    WORKLOAD_PRIORITY = ("/apis/kueue.x-k8s.io/v1beta2", "workloadpriorityclasses", False)
    TASK = ("/apis/agenttask.dev/v1alpha1", "agenttasks", True)

    def path(self, *, namespace: str | None, name: str | None = None) -> str:
        """URL path of one object, or of the collection where `name` is None."""
        prefix, plural, namespaced = self.value
        parts = [prefix, f"namespaces/{namespace}" if namespaced and namespace else "", plural, name or ""]
        return "/".join(part for part in parts if part)


class RefusedError(Exception):
    """The API server answered with an error: `status` is its code, the text its message."""

    def __init__(self, *, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message


def verification(authority: str) -> ssl.SSLContext:
    """Verify servers by this authority, which may be an older one without the key identifiers Python 3.13 wants."""
    context = ssl.create_default_context(cafile=authority)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


class Api:
    """One session with one API server."""

    def __init__(self, *, kubeconfig: Path) -> None:
        configuration = Configuration()
        load_kube_config(config_file=str(kubeconfig), client_configuration=configuration)
        self._authority = configuration.ssl_ca_cert
        context = verification(self._authority)
        if configuration.cert_file:
            context.load_cert_chain(configuration.cert_file, configuration.key_file)
        token = configuration.get_api_key_with_prefix("authorization")
        self._http = httpx.Client(
            base_url=configuration.host,
            verify=context,
            headers={"Authorization": token} if token else {},
            timeout=60,
        )

    def close(self) -> None:
        """Close the session."""
        self._http.close()

    def patch_as(self, token: str, path: str, body: Object, *, manager: str) -> int:
        """Server-side apply with the token of another, and return the server's status code."""
        context = verification(self._authority)
        with httpx.Client(base_url=self._http.base_url, verify=context, timeout=60) as http:
            answer = http.patch(
                path,
                content=json.dumps(body),
                headers={"Authorization": f"Bearer {token}", "Content-Type": "application/apply-patch+yaml"},
                params={"fieldManager": manager, "force": "true"},
            )
        return answer.status_code

    def request(
        self,
        method: str,
        path: str,
        *,
        body: Object | None = None,
        content_type: str = "application/json",
        params: dict[str, str] | None = None,
    ) -> Object:
        """Send one request. Raises RefusedError for every answer of 400 and above."""
        answer = self._http.request(
            method,
            path,
            content=None if body is None else json.dumps(body),
            headers={"Content-Type": content_type},
            params=params,
        )
        if answer.status_code >= 400:
            try:
                message = str(answer.json().get("message", ""))
            except ValueError:
                message = answer.text[:500]
            raise RefusedError(status=answer.status_code, message=message)
        return dict(answer.json())

    def get(self, kind: Kind, name: str, *, namespace: str | None = None) -> Object | None:
        """Return the object, or None where there is none."""
        try:
            return self.request("GET", kind.path(namespace=namespace, name=name))
        except RefusedError as refused:
            if refused.status == 404:
                return None
            raise

    def list(self, kind: Kind, *, namespace: str | None = None, labels: str = "", fields: str = "") -> list[Object]:
        """Return all objects of the kind that match both selectors."""
        params = {key: value for key, value in (("labelSelector", labels), ("fieldSelector", fields)) if value}
        return list(self.request("GET", kind.path(namespace=namespace), params=params)["items"])

    def create(self, kind: Kind, body: Object, *, namespace: str | None = None) -> Object:
        """Create the object. Raises RefusedError, 409 included."""
        return self.request("POST", kind.path(namespace=namespace), body=body)

    def apply(self, kind: Kind, body: Object, *, namespace: str | None = None) -> Object:
        """Server-side apply the object, forcing conflicts."""
        return self.request(
            "PATCH",
            kind.path(namespace=namespace, name=body["metadata"]["name"]),
            body=body,
            content_type="application/apply-patch+yaml",
            params={"fieldManager": FIELD_MANAGER, "force": "true"},
        )

    def merge(self, kind: Kind, name: str, patch: Object, *, namespace: str | None = None) -> Object:
        """Merge-patch the object."""
        path = kind.path(namespace=namespace, name=name)
        return self.request("PATCH", path, body=patch, content_type="application/merge-patch+json")

    def delete(self, kind: Kind, name: str, *, namespace: str | None = None, grace_seconds: int | None = None) -> bool:
        """Ask for deletion; False where there was nothing to delete."""
        body: Object = {"propagationPolicy": "Background"}
        if grace_seconds is not None:
            body["gracePeriodSeconds"] = grace_seconds
        try:
            self.request("DELETE", kind.path(namespace=namespace, name=name), body=body)
        except RefusedError as refused:
            if refused.status == 404:
                return False
            raise
        return True

    def watch(self, path: str, *, seconds: int) -> Iterator[Object]:
        """Events of a collection for `seconds`, the objects that are there first."""
        params = {"watch": "1", "timeoutSeconds": str(seconds)}
        with self._http.stream("GET", path, params=params) as answer:
            for line in answer.iter_lines():
                yield json.loads(line)

    def logs(self, pod: str, *, namespace: str) -> str:
        """Return what the pod's only container wrote so far."""
        return self._http.get(f"{Kind.POD.path(namespace=namespace, name=pod)}/log").text
