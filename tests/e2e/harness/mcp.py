"""Real MCP servers for the tests: one of Node.js on this machine, and one of Python for the runner's own container."""

from __future__ import annotations

import importlib.metadata
import os
import socket
import subprocess
from contextlib import ExitStack

from tests.e2e.harness.kube import Object
from tests.e2e.harness.model import PEERS
from tests.e2e.harness.wait import until
from tests.ports import reserved

FOLDER = "/mcp"
"""Where a pod has the files of the server for its own container."""
TIME_COMMAND = ["env", f"PYTHONPATH={FOLDER}", "python3", "-m", "mcp_server_time", "--local-timezone", "UTC"]


class Everything:
    """`@modelcontextprotocol/server-everything` over streamable HTTP, reachable from pods."""

    def __init__(self, *, address: str) -> None:
        self._held = ExitStack()
        self._port = self._held.enter_context(reserved())
        self.url = f"http://{address}:{self._port}/mcp"
        self._process = self._started()

    def restart(self) -> None:
        """Kill it with all the sessions it has, and start another in its place."""
        self._kill()
        self._process = self._started()

    def close(self) -> None:
        """Kill it."""
        self._kill()
        self._held.close()

    def _kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def _started(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [str(PEERS / "node_modules/.bin/mcp-server-everything"), "streamableHttp"],
            env={**os.environ, "PORT": str(self._port)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until(self._listens, what="the MCP server listens")
        return process

    def _listens(self) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self._port)) == 0


def time_server(*, name: str) -> tuple[Object, Object]:
    """The PyPI package mcp-server-time, and what it needs beside the runner's image, as a ConfigMap and its volume."""
    data, items = dict[str, str](), list[Object]()
    for package in ("mcp-server-time", "tzlocal"):
        for file in importlib.metadata.files(package) or ():
            if file.suffix == ".py" or file.name == "METADATA":
                key = str(file).replace("/", ".")
                data[key] = file.read_text()
                items.append({"key": key, "path": str(file)})
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}
    return config_map, {"name": name, "configMap": {"name": name, "items": items}}
