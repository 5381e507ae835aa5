"""A plain client of the API server for tests that care about status codes and about who is asking."""

from __future__ import annotations

import json
import queue
import ssl
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
from kubernetes.client import Configuration
from kubernetes.config import load_kube_config

Object = dict[str, Any]

JSON = "application/json"
MERGE = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the server said; refusals are answers too."""

    status: int
    body: Object

    @property
    def accepted(self) -> bool:
        return self.status < 400

    @property
    def message(self) -> str:
        return str(self.body.get("message", ""))


class Sessions:
    """Sessions that are used again, each by one thread at a time.

    A session may be used by many at once, but what one of them closes as idle another one may just have been given.
    """

    def __init__(self, make: Callable[[], httpx.Client]) -> None:
        self._make = make
        self._all: list[httpx.Client] = []
        self._free: queue.SimpleQueue[httpx.Client] = queue.SimpleQueue()

    @contextmanager
    def borrowed(self) -> Iterator[httpx.Client]:
        """One that nobody else has."""
        try:
            http = self._free.get_nowait()
        except queue.Empty:
            http = self._make()
            self._all.append(http)
        try:
            yield http
        finally:
            self._free.put(http)

    def close(self) -> None:
        """Close all of them; none is in use."""
        for http in self._all:
            http.close()


@dataclass(frozen=True, kw_only=True)
class Client:
    """One identity at one API server."""

    host: str
    context: ssl.SSLContext
    anonymous: ssl.SSLContext
    """Trusts the same authority and shows no client certificate."""
    token: str | None = None
    impersonated: str | None = None
    kept: Sessions | None = None
    """Connections to use again, of `keeping`; else each request opens its own, which takes longer than the request."""
    kept_anonymous: Sessions | None = None
    """The same for those who come with a token."""

    @classmethod
    def from_kubeconfig(cls, path: Path) -> Client:
        """The identity of a kubeconfig's current context, exec plugins included."""
        configuration = Configuration()
        load_kube_config(config_file=str(path), client_configuration=configuration)
        context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
        if configuration.cert_file:
            context.load_cert_chain(configuration.cert_file, configuration.key_file)
        header = configuration.get_api_key_with_prefix("authorization")
        return cls(
            host=configuration.host,
            context=context,
            anonymous=ssl.create_default_context(cafile=configuration.ssl_ca_cert),
            token=header.removeprefix("Bearer ") if header else None,
        )

    def with_token(self, token: str) -> Client:
        """The same server, asked by the bearer of `token`."""
        return replace(self, context=self.anonymous, token=token, kept=self.kept_anonymous)

    def impersonating(self, user: str) -> Client:
        """The same identity, acting for a user of no group."""
        return replace(self, impersonated=user)

    @contextmanager
    def keeping(self) -> Iterator[Client]:
        """The same identity for thousands of requests, on any threads: connections are kept until the block ends."""
        with (
            closing(Sessions(lambda: self._session(self.context))) as kept,
            closing(Sessions(lambda: self._session(self.anonymous))) as anonymous,
        ):
            yield replace(self, kept=kept, kept_anonymous=anonymous)

    def _session(self, context: ssl.SSLContext) -> httpx.Client:
        return httpx.Client(base_url=self.host, verify=context, timeout=60, trust_env=False)

    def send(
        self,
        method: str,
        path: str,
        *,
        body: Object | None = None,
        content_type: str = JSON,
        accept: str = JSON,
        **params: str,
    ) -> Answer:
        """Send one request and return whatever is answered."""
        headers = {"Content-Type": content_type, "Accept": accept}
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        if self.impersonated is not None:
            headers["Impersonate-User"] = self.impersonated
        content = None if body is None else json.dumps(body)
        with self.kept.borrowed() if self.kept is not None else self._session(self.context) as http:
            got = http.request(method, path, content=content, headers=headers, params=params)
        return Answer(status=got.status_code, body=got.json() if got.content else {})

    def must(
        self, method: str, path: str, *, body: Object | None = None, content_type: str = JSON, **params: str
    ) -> Object:
        """Send a request that is no part of what is tested.

        Raises:
            AssertionError: it was refused.
        """
        answer = self.send(method, path, body=body, content_type=content_type, **params)
        assert answer.accepted, f"{method} {path}: {answer.status} {answer.message}"
        return answer.body
