"""An HTTP proxy that keeps what went through it, and to whom: a witness of every host a process contacts."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final
from urllib.parse import urlsplit

import httpx

from tests.e2e.harness.wait import PATIENCE_SECONDS

_HOP: Final = frozenset({"connection", "content-length", "host", "proxy-connection", "transfer-encoding"})


@dataclass(frozen=True, kw_only=True)
class Passed:
    """One request that went through."""

    host: str
    path: str
    headers: Mapping[str, str]
    """By lower-case name."""


class RecordingProxy:
    """A running proxy. `hosts` says where the servers behind some host names really are; others are not found."""

    def __init__(self, *, hosts: Mapping[str, str]) -> None:
        self.passed: list[Passed] = []
        passed = self.passed
        # Several threads ask, and servers close a connection that is idle for as long as this one would keep it.
        limits = httpx.Limits(max_keepalive_connections=0)
        http = httpx.Client(timeout=PATIENCE_SECONDS, limits=limits, trust_env=False)

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                url = urlsplit(self.path)
                headers = {name.lower(): value for name, value in self.headers.items()}
                passed.append(Passed(host=url.netloc, path=url.path, headers=headers))
                body = self.rfile.read(int(headers.get("content-length", 0)))
                server = hosts.get(url.netloc)
                if server is None:
                    self.send_error(502)
                    return
                onward = {name: value for name, value in headers.items() if name not in _HOP}
                answer = http.post(f"{server}{url.path}", content=body, headers=onward)
                self.send_response(answer.status_code)
                for name, value in answer.headers.items():
                    if name not in _HOP and name != "content-encoding":
                        self.send_header(name, value)
                self.send_header("content-length", str(len(answer.content)))
                self.end_headers()
                self.wfile.write(answer.content)

            def do_CONNECT(self) -> None:
                passed.append(Passed(host=self.path, path="", headers={}))
                self.send_error(502)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
                pass

        self._http = http
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="recording-proxy")
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @property
    def environment(self) -> dict[str, str]:
        """What makes a process send everything through here."""
        names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
        return {**{spelt: self.url for name in names for spelt in (name, name.lower())}, "NO_PROXY": "", "no_proxy": ""}

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=10)
        self._http.close()
