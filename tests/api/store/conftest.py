"""The stores under test: memory, a folder, a real S3 server (versitygw), a second S3 implementation (moto), and real
servers of the Redis protocol (Valkey, and Redis where it is installed)."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from agenttask.contract import Location
from agenttask.store import Store, s3
from agenttask.store.filesystem import FilesystemStore
from agenttask.store.memory import MemoryStore
from agenttask.store.redis import RedisStore
from agenttask.store.redis import Server as RedisServer
from agenttask.store.s3 import S3Store
from moto.server import ThreadedMotoServer

from tests.api.store import servers

REDISES = ["valkey"] + (["redis"] if servers.REDIS else [])
STORES = ["memory", "filesystem", "versitygw", "moto", *REDISES]


@dataclass(frozen=True, kw_only=True)
class Server:
    """An S3 server with a bucket; its keys are in the environment while the fixture lives."""

    endpoint: str
    region: str
    bucket: str

    def store(self, *, bucket: str | None = None) -> S3Store:
        """A store in the bucket, or in another one."""
        return S3Store(bucket=bucket or self.bucket, server=s3.Server(endpoint=self.endpoint, region=self.region))

    def location(self, **changes: Any) -> Location:
        """The bucket as a task's log would lie there, but for `changes`."""
        place = {"bucket": self.bucket, "endpoint": self.endpoint, "region": self.region}
        return Location(type="s3", **{**place, **changes})


@pytest.fixture(autouse=True)
def _no_machine_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep the machine's own AWS configuration out of every test."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def sign_in(process: servers.S3Process, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have this server's keys in the environment."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", process.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", process.secret_access_key)


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch, _no_machine_credentials: None) -> None:
    """Some credentials, for servers that take any."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "anybody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "whatever")


@pytest.fixture(scope="session")
def versitygw_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.S3Process]:
    """The session's S3 server."""
    with servers.versitygw(tmp_path_factory.mktemp("versitygw")) as process:
        yield process


@pytest.fixture
def versitygw(
    versitygw_process: servers.S3Process, monkeypatch: pytest.MonkeyPatch, _no_machine_credentials: None
) -> Server:
    """versitygw's S3."""
    sign_in(versitygw_process, monkeypatch)
    return Server(endpoint=versitygw_process.endpoint, region=servers.REGION, bucket=servers.BUCKET)


@pytest.fixture(scope="session")
def moto_server() -> Iterator[str]:
    """Where moto listens."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def moto(moto_server: str, keys: None) -> Server:
    """moto's S3, with a bucket of its own."""
    server = Server(endpoint=moto_server, region="us-east-1", bucket=f"bucket-{secrets.token_hex(8)}")
    client = server.store()._client.result()
    client.create_bucket(Bucket=server.bucket)
    return server


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.RedisProcess]:
    """The session's Valkey."""
    with servers.redis(tmp_path_factory.mktemp("valkey"), program=servers.valkey_program()) as process:
        yield process


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.RedisProcess]:
    """The session's Redis."""
    assert servers.REDIS is not None
    with servers.redis(tmp_path_factory.mktemp("redis"), program=servers.REDIS) as process:
        yield process


def opener(request: pytest.FixtureRequest, name: str) -> Callable[[], Store]:
    """How to open the store of that name; several openings share their objects."""
    if name == "memory":
        objects: dict[str, bytes] = {}
        return lambda: MemoryStore(objects)
    if name == "filesystem":
        root: Path = request.getfixturevalue("tmp_path") / "not" / "yet" / "there"
        return lambda: FilesystemStore(root=root)
    server = request.getfixturevalue(name)
    if isinstance(server, servers.RedisProcess):
        url = server.url
        return lambda: RedisStore(server=RedisServer(url=url))
    s3_server: Server = server
    return s3_server.store


@pytest.fixture(params=STORES)
def open_any(request: pytest.FixtureRequest) -> Callable[[], Store]:
    """How to open each kind of store in turn."""
    return opener(request, request.param)


@pytest.fixture
async def store(open_any: Callable[[], Store]) -> AsyncIterator[Store]:
    """Each kind of store in turn."""
    opened = open_any()
    yield opened
    await opened.close()


@pytest.fixture
def folder() -> str:
    """A folder of this test's own, without its final slash."""
    return f"test-{secrets.token_hex(8)}/log"
