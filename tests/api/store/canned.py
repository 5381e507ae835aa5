"""A server that gives canned answers, for what real S3 servers do too rarely to wait for."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.e2e.harness.wait import PATIENCE_SECONDS


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One answer; `cut` bytes of the body promised are never sent, `hang` sends nothing at all."""

    status: int = 200
    body: bytes = b""
    cut: int = 0
    hang: bool = False

    @classmethod
    def error(cls, status: int, code: str) -> Answer:
        """An S3 error document."""
        return cls(status=status, body=f"<Error><Code>{code}</Code><Message>canned</Message></Error>".encode())

    def whole(self) -> bytes:
        """All that goes over the wire, for who sends it by himself."""
        return f"HTTP/1.1 {self.status} Canned\r\nContent-Length: {len(self.body)}\r\n\r\n".encode() + self.body


@dataclass(kw_only=True)
class Canned:
    """The running server: gives the same answer to everything, and keeps what it was sent."""

    answer: Answer
    endpoint: str = ""
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)


@contextmanager
def canned(answer: Answer, *, tls: ssl.SSLContext | None = None) -> Iterator[Canned]:
    """Serve one canned answer until the block ends."""
    state = Canned(answer=answer)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _any(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            state.requests.append((self.command, headers, self.rfile.read(length)))
            self.close_connection = True
            if state.answer.hang:
                state.released.wait(timeout=PATIENCE_SECONDS)
                return
            self.send_response(state.answer.status)
            self.send_header("Content-Length", str(len(state.answer.body)))
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(state.answer.body[: len(state.answer.body) - state.answer.cut])

        do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _any  # noqa: N815 - the names http.server looks for

        def log_message(self, *_: object) -> None:
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    state.endpoint = f"http{'s' if tls else ''}://127.0.0.1:{server.server_port}"
    try:
        yield state
    finally:
        state.released.set()
        server.shutdown()
        thread.join()
        server.server_close()
