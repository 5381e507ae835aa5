"""The one call the runner makes to the Kubernetes API: a server-side apply of its own part of its task's status."""

from __future__ import annotations

import ssl
from enum import Enum
from pathlib import Path
from typing import Final, Protocol

import httpx

from agenttask.contract import (
    APPLY_CONTENT_TYPE,
    APPLY_OPTIONS,
    GROUP,
    KIND,
    PLURAL,
    RUNNER_MANAGER,
    VERSION,
    RunnerStatus,
    encode_apply,
)

TIMEOUT_SECONDS: Final = 10.0


class Answer(Enum):
    """What a write came to."""

    ACCEPTED = "accepted"
    GONE = "gone"
    """401 or 404: the pod, and its token with it, or the task no longer exists."""
    REFUSED = "refused"
    """Any other 4xx: the pod is not the task's current one, or not yet."""
    UNREACHABLE = "unreachable"
    """No answer, 429 or a 5xx."""


class StatusApi(Protocol):
    """Where status goes."""

    async def apply(self, status: RunnerStatus) -> tuple[Answer, str]:
        """Replace all the runner owns; what came of it, and the server's own words."""
        ...

    async def close(self) -> None:
        """Drops the connections."""
        ...


class NoStatus:
    """For a run that has no cluster."""

    async def apply(self, status: RunnerStatus) -> tuple[Answer, str]:
        return Answer.ACCEPTED, ""

    async def close(self) -> None:
        return


class KubernetesStatus:
    """The status of one task, written with the pod's projected token."""

    def __init__(
        self,
        *,
        server: str,
        token_dir: Path,
        namespace: str,
        name: str,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """`server` as `https://host:port`; `token_dir` holds `token`, read anew for each write, and `ca.crt`."""
        self._url = f"{server}/apis/{GROUP}/{VERSION}/namespaces/{namespace}/{PLURAL}/{name}/status"
        self._token_dir = token_dir
        self._transport = transport
        self._http: httpx.AsyncClient | None = None
        # No UID: the server does not compare it in an apply of the status subresource. That a later task of the same
        # name is left alone is the admission policy's doing, which compares the token's pod with the task's.
        self._object = {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": KIND,
            "metadata": {"name": name, "namespace": namespace},
        }

    async def apply(self, status: RunnerStatus) -> tuple[Answer, str]:
        try:
            response = await self._client().patch(
                self._url,
                params={"fieldManager": RUNNER_MANAGER, **APPLY_OPTIONS},
                content=encode_apply({**self._object, "status": status}),
                headers={
                    "authorization": f"Bearer {(self._token_dir / 'token').read_text().strip()}",
                    "content-type": APPLY_CONTENT_TYPE,
                    "accept": "application/json",
                },
            )
        except (httpx.HTTPError, OSError) as error:
            await self.close()  # the cluster's CA may have changed: the next try reads it anew
            return Answer.UNREACHABLE, f"{type(error).__name__}: {error}"
        return _meaning(response.status_code), "" if response.is_success else _words(response)

    async def close(self) -> None:
        if self._http is not None:
            await self._http.aclose()
            self._http = None

    def _client(self) -> httpx.AsyncClient:
        if self._http is None:
            # Without the environment's proxies: the API server is inside the cluster.
            self._http = httpx.AsyncClient(
                verify=_verification(self._token_dir / "ca.crt"),
                timeout=TIMEOUT_SECONDS,
                trust_env=False,
                transport=self._transport,
            )
        return self._http


def _verification(authority: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority))
    # Python 3.13 wants key identifiers in certificates, which the authorities of older EKS clusters, for one, lack.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def _meaning(status: int) -> Answer:
    if 200 <= status < 300:
        return Answer.ACCEPTED
    if status in {401, 404}:
        return Answer.GONE
    if status == 429 or status >= 500:
        return Answer.UNREACHABLE
    return Answer.REFUSED


def _words(response: httpx.Response) -> str:
    try:
        message = response.json()["message"]
    except (ValueError, KeyError, TypeError):
        message = response.text
    return f"HTTP {response.status_code}: {str(message)[:300]}"
