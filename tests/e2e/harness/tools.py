"""A tool server for the tests: `POST /<task>/number` answers {"number": f(n)} and counts who asked.

With a use it takes effect; what it was told to hold back is an answer that nobody gets. `/<task>/number/<size>` answers
that many bytes.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def number_of(n: int) -> int:
    """What the tool answers for `n`: no simple progression, so that a lost result shows in the sum."""
    return n * n + 7 * n + 3


@dataclass(frozen=True, kw_only=True)
class Use:
    """One request the tool server got."""

    task: str
    n: int
    idempotency_key: str | None


class ToolServer:
    """A running tool server and the list of its uses."""

    def __init__(self, *, address: str) -> None:
        self._uses: list[Use] = []
        self._held: dict[tuple[str, int], threading.Event] = {}
        uses, held = self._uses, self._held

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                n = int(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["n"])
                task = self.path.split("/")[1]
                uses.append(Use(task=task, n=n, idempotency_key=self.headers.get("Idempotency-Key")))
                if (task, n) in held:
                    held[task, n].wait()
                    return
                size = int(self.path.partition("/number/")[2] or 0)
                body = json.dumps({"number": number_of(n)}).encode().ljust(size)
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
                pass

        self._server = ThreadingHTTPServer(("0.0.0.0", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="tool-server")
        self._thread.start()
        self._base_url = f"http://{address}:{self._server.server_port}"

    def url(self, *, task: str, answer_bytes: int = 0) -> str:
        """Where `task` is to send its calls; what it gets has at least `answer_bytes`."""
        return f"{self._base_url}/{task}/number{f'/{answer_bytes}' if answer_bytes else ''}"

    def hold(self, *, task: str, n: int) -> None:
        """Answer no call of `task` for `n` while this server runs; each is counted all the same."""
        self._held[task, n] = threading.Event()

    def uses(self, *, task: str) -> list[Use]:
        """Every use by `task`, in the order of arrival."""
        return [use for use in self._uses if use.task == task]

    def close(self) -> None:
        """Stop serving."""
        for event in self._held.values():
            event.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=10)
