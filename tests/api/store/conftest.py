"""The stores under test: memory, a folder, a real S3 server (versitygw), and a second S3 implementation (moto)."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from agenttask.store import Store, s3
from agenttask.store.filesystem import FilesystemStore
from agenttask.store.memory import MemoryStore
from agenttask.store.s3 import S3Store
from moto.server import ThreadedMotoServer

from tests.cluster.environment import Environment


@dataclass(frozen=True, kw_only=True)
class Server:
    """An S3 server with a bucket; its keys are in the environment while the fixture lives."""

    endpoint: str
    region: str
    bucket: str

    def store(self, *, bucket: str | None = None) -> S3Store:
        """A store in the bucket, or in another one."""
        return S3Store(bucket=bucket or self.bucket, server=s3.Server(endpoint=self.endpoint, region=self.region))


@pytest.fixture(autouse=True)
def _no_machine_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep the machine's own AWS configuration out of every test."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch, _no_machine_credentials: None) -> None:
    """Some credentials, for servers that take any."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "anybody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "whatever")


@pytest.fixture
def versitygw(cluster: object, monkeypatch: pytest.MonkeyPatch, _no_machine_credentials: None) -> Server:
    """The cluster's S3 server."""
    environment = Environment.read()
    assert environment is not None
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", environment.s3_access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", environment.s3_secret_access_key)
    return Server(endpoint=environment.s3_host_endpoint, region=environment.s3_region, bucket=environment.s3_bucket)


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
    server = Server(endpoint=moto_server, region="us-east-1", bucket=f"bucket-{secrets.token_hex(4)}")
    client = server.store()._client.result()
    client.create_bucket(Bucket=server.bucket)
    return server


@pytest.fixture(params=["memory", "filesystem", "versitygw", "moto"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """Each kind of store in turn."""
    opened: Store
    match request.param:
        case "memory":
            opened = MemoryStore()
        case "filesystem":
            opened = FilesystemStore(root=tmp_path / "not" / "yet" / "there")
        case name:
            opened = request.getfixturevalue(name).store()
    yield opened
    await opened.close()


@pytest.fixture
def folder() -> str:
    """A folder of this test's own, without its final slash."""
    return f"test-{secrets.token_hex(8)}/log"
