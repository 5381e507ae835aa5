"""Tools with effects that are counted, whatever their callers know of them: one server, one command, and their probes.

    POST /<task>           takes effect and answers {"number": n}
    GET  /<task>           answers {"done": …, "result": {"number": n}} for the idempotency key it gets

The command does the same with a file. Either may be told to kill its caller just before or just after its effect.
"""

from __future__ import annotations

import json
import os
import signal
import threading
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.e2e.harness.wait import PATIENCE_SECONDS

COMMAND = """
cd {folder}; read -r arguments; {keyed}
[ "$2" = before ] && rm book-dies && kill -9 $PPID && exit 1
echo "$AGENTTASK_IDEMPOTENCY_KEY" >> booked
[ "$2" = after ] && rm book-dies && kill -9 $PPID
echo "$arguments"
"""
KEYED = 'grep -qsx "$AGENTTASK_IDEMPOTENCY_KEY" booked && echo "$arguments" && exit 0'
PROBE = """
cd {folder}; read -r arguments
grep -qsx "$AGENTTASK_IDEMPOTENCY_KEY" booked && printf '{{"done": true, "result": %s}}' "$arguments" && exit 0
echo '{{"done": false}}'
"""


def _set() -> threading.Event:
    event = threading.Event()
    event.set()
    return event


@dataclass
class Account:
    """What one task did to the server."""

    effects: list[str] = field(default_factory=list)
    """Idempotency keys, one for each effect."""
    dies: str = ""
    """`before` or `after`: the first effect, which kills the caller."""
    keyed: bool = False
    """The server does what it is asked for once per key."""
    pid: int = 0
    known: threading.Event = field(default_factory=threading.Event)
    """That `pid` is the caller's."""

    waits: threading.Event = field(default_factory=_set)
    """Cleared: a request waits before its effect."""
    under_way: bool = False

    def kill(self, when: str) -> bool:
        """Kill the caller, if this is when it dies."""
        if self.dies != when:
            return False
        self.dies = ""
        assert self.known.wait(timeout=PATIENCE_SECONDS)
        os.kill(self.pid, signal.SIGKILL)
        return True


class EffectServer:
    """A running server and the accounts of its tasks."""

    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}
        accounts = self.accounts

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                account = accounts[self.path.split("/")[1]]
                number = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["number"]
                key = self.headers["Idempotency-Key"]
                account.under_way = True
                assert account.waits.wait(timeout=PATIENCE_SECONDS)
                if account.kill("before"):
                    return
                if not (account.keyed and key in account.effects):
                    account.effects.append(key)
                if not account.kill("after"):
                    self.answer({"number": number})

            def do_GET(self) -> None:
                url = urlsplit(self.path)
                done = self.headers["Idempotency-Key"] in accounts[url.path.split("/")[1]].effects
                self.answer({"done": done, "result": {"number": int(parse_qs(url.query)["number"][0])}})

            def answer(self, value: dict[str, Any]) -> None:
                body = json.dumps(value).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="effects")
        self._thread.start()

    def url(self, task: str) -> str:
        """The server's address for one task."""
        return f"http://127.0.0.1:{self._server.server_port}/{task}"

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=10)


def tools(*, recovery: str, url: str, folder: Path, on_doubt: str = "TellModel") -> list[dict[str, Any]]:
    """The tool `pay`, a request, and the tool `book`, a command, which dies as the file book-dies says."""
    shared: dict[str, Any] = {"recovery": recovery, "parameters": {"type": "object"}}
    if recovery != "Idempotent":
        shared["onDoubt"] = on_doubt
    keyed = KEYED if recovery == "Idempotent" else ":"
    book = COMMAND.format(folder=folder, keyed=keyed).replace('"$2"', '"$(cat book-dies 2>/dev/null)"')
    pay_probe, book_probe = (
        {"http": {"url": url, "method": "GET"}},
        {"command": ["sh", "-c", PROBE.format(folder=folder)]},
    )
    ask = recovery == "Reconcile"
    return [
        {"name": "pay", **shared, "http": {"url": url}, **({"probe": pay_probe} if ask else {})},
        {"name": "book", **shared, "command": ["sh", "-c", book], **({"probe": book_probe} if ask else {})},
    ]


def booked(folder: Path) -> Counter[str]:
    """How often the command took effect, by idempotency key."""
    file = folder / "booked"
    return Counter(file.read_text().split() if file.exists() else ())
