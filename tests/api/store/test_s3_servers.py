"""What `spec.checkpoint.s3` can ask of a server, on servers that do it: TLS, addressing, encryption, kinds of keys."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
from agenttask.clock import SystemClock
from agenttask.contract import ENV_STORE_CA, Encryption, Location
from agenttask.errors import Denied, Misconfigured, Unavailable
from agenttask.log import Holder, Kind, Log, Patience
from agenttask.store import Store, open_store
from agenttask.store.conformance import CHECKS, Subject
from agenttask.store.source import of_bytes

from tests.api.store import servers
from tests.api.store.canned import Answer, Canned, canned
from tests.api.store.certificates import Authority
from tests.api.store.conftest import Server, sign_in

DOMAIN = "s3.test"
LARGE = 64 << 20


def location(endpoint: str | None, **more: Any) -> Location:
    return Location(type="s3", bucket=servers.BUCKET, endpoint=endpoint, region=servers.REGION, **more)


@asynccontextmanager
async def opened(where: Location, *, environment: Mapping[str, str] | None = None) -> AsyncIterator[Store]:
    store = open_store(where, environment=environment or {})
    try:
        yield store
    finally:
        await store.close()


async def work(store: Store, folder: str) -> None:
    """Claim a log, append to it, and keep a large value."""
    found = await Log.open(
        store=store,
        prefix=folder,
        task="ns/task",
        attempt=1,
        holder=Holder(pod_uid="pod", process="p"),
        recorded=None,
        clock=SystemClock(),
        patience=Patience(claim_seconds=0, append_seconds=0),
    )
    assert found.log is not None
    await found.log.append(kind=Kind.EVENTS, events=[{"text": "t"}], step=1, max_steps=9)
    await store.put_stream_if_absent(f"{folder}/blob/1", of_bytes(b"x" * (5 << 20)), first=False)
    assert len(await store.get(f"{folder}/blob/1", max_bytes=LARGE)) == 5 << 20


async def test_tls_is_spoken_with_a_server_that_the_given_certificates_vouch_for(
    tmp_path: Path, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, other = Authority(tmp_path), Authority(tmp_path, name="Somebody else")
    with servers.versitygw(tmp_path / "s3", certified=authority.certify()) as process:
        sign_in(process, monkeypatch)
        assert process.endpoint.startswith("https://")
        where = location(process.endpoint)
        async with opened(where, environment={ENV_STORE_CA: authority.certificate}) as store:
            await work(store, folder)
        for environment in ({}, {ENV_STORE_CA: other.certificate}):
            async with opened(where, environment=environment) as store:
                with pytest.raises(Misconfigured, match=r"CERTIFICATE_VERIFY_FAILED.*caConfigMapRef"):
                    await work(store, f"{folder}x")


async def test_a_certificate_for_another_host_is_refused(
    tmp_path: Path, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path)
    with servers.versitygw(tmp_path / "s3", certified=authority.certify("elsewhere.test")) as process:
        sign_in(process, monkeypatch)
        async with opened(location(process.endpoint), environment={ENV_STORE_CA: authority.certificate}) as store:
            with pytest.raises(Misconfigured, match=r"127\.0\.0\.1"):
                await work(store, folder)


@pytest.fixture
def resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    """`s3.test` and all names below it are this machine."""
    ask = socket.getaddrinfo

    def answer(host: Any, *rest: Any, **more: Any) -> Any:
        return ask("127.0.0.1" if str(host).endswith(DOMAIN) else host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", answer)


@pytest.mark.usefixtures("resolved")
@pytest.mark.parametrize("addressing", ["Path", "Virtual", None])
async def test_the_bucket_stands_in_the_path_or_in_the_host_name_as_asked(
    tmp_path: Path, folder: str, monkeypatch: pytest.MonkeyPatch, addressing: str | None
) -> None:
    with servers.versitygw(tmp_path / "s3", options=["--virtual-domain", DOMAIN]) as process:
        sign_in(process, monkeypatch)
        where = location(process.endpoint.replace("127.0.0.1", DOMAIN), addressing=addressing)
        async with opened(where) as store:
            await work(store, folder)
            found = [entry.key for entry in await store.list(f"{folder}/log/", after=None)]
        assert found == [f"{folder}/log/000000000001", f"{folder}/log/000000000002"]
    with canned(Answer()) as server:
        async with opened(location(server.endpoint.replace("127.0.0.1", DOMAIN), addressing=addressing)) as store:
            await store.put_if_absent("a/log/1", b"x", first=True)
        host = server.requests[0][1]["host"].partition(":")[0]
        assert host == (f"{servers.BUCKET}.{DOMAIN}" if addressing == "Virtual" else DOMAIN)


def put_headers(server: Canned) -> dict[str, str]:
    return next(headers for command, headers, _ in server.requests if command == "PUT")


@pytest.mark.usefixtures("keys")
async def test_a_session_token_goes_with_every_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "the-session")
    with canned(Answer()) as server:
        async with opened(location(server.endpoint)) as store:
            await store.put_if_absent("a/log/1", b"x", first=True)
            await store.put_stream_if_absent("a/blob/1", of_bytes(b"x"), first=False)
            await store.delete("a/log/1")
        assert [headers["x-amz-security-token"] for _, headers, _ in server.requests] == ["the-session"] * 3


ENCRYPTIONS = {
    "with the server's own key": (
        Encryption(type="SSE-S3"),
        {"x-amz-server-side-encryption": "AES256"},
        {"ServerSideEncryption": "AES256"},
    ),
    "with the account's key of the key service": (
        Encryption(type="SSE-KMS"),
        {"x-amz-server-side-encryption": "aws:kms"},
        {"ServerSideEncryption": "aws:kms"},
    ),
    "with a key of the key service": (
        Encryption(type="SSE-KMS", kms_key_id="alias/agents"),
        {"x-amz-server-side-encryption": "aws:kms", "x-amz-server-side-encryption-aws-kms-key-id": "alias/agents"},
        {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "alias/agents"},
    ),
}


@pytest.mark.parametrize(("encryption", "headers", "kept"), ENCRYPTIONS.values(), ids=ENCRYPTIONS.keys())
async def test_every_object_is_encrypted(
    moto: Server, folder: str, encryption: Encryption, headers: dict[str, str], kept: dict[str, str]
) -> None:
    with canned(Answer()) as server:
        async with opened(location(server.endpoint, encryption=encryption)) as store:
            await store.put_if_absent("a/log/1", b"x", first=True)
            await store.put_stream_if_absent("a/blob/1", of_bytes(b"x"), first=False)
        assert len(server.requests) == 2
        for _, sent, _ in server.requests:
            assert {name: value for name, value in sent.items() if "encryption" in name} == headers
    async with opened(moto.location(encryption=encryption)) as store:
        await work(store, folder)
        client = boto3.client("s3", endpoint_url=moto.endpoint, region_name=moto.region)
        for entry in [
            *await store.list(f"{folder}/log/", after=None),
            *await store.list(f"{folder}/blob/", after=None),
        ]:
            found: Any = client.head_object(Bucket=moto.bucket, Key=entry.key)
            assert {name: found[name] for name in kept} == kept
        client.close()


async def test_keys_come_from_the_usual_aws_chain_a_file(
    tmp_path: Path, folder: str, versitygw_process: servers.S3Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = location(versitygw_process.endpoint)
    async with opened(where) as store:
        with pytest.raises(Denied, match="Unable to locate credentials"):
            await work(store, folder)
    file = tmp_path / "credentials"
    process = versitygw_process
    keys = [f"aws_access_key_id={process.access_key_id}", f"aws_secret_access_key={process.secret_access_key}"]
    file.write_text("\n".join(["[default]", *keys]))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    async with opened(where) as store:
        await work(store, folder)


async def test_keys_come_from_the_usual_aws_chain_a_role_of_the_service_account(
    moto_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moto: Server, folder: str
) -> None:
    """As on EKS: the pod has a role and a token, and its keys come from AWS's token service, with a session."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    (tmp_path / "token").write_text("a.service-account.token")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/agents")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", moto_server)
    where = moto.location()
    async with opened(where) as store:
        await work(store, folder)
    with canned(Answer()) as server:
        async with opened(location(server.endpoint)) as store:
            await store.put_if_absent("a/log/1", b"x", first=True)
        assert put_headers(server)["x-amz-security-token"]
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1")
    async with opened(where) as store:
        with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1/"):
            await work(store, f"{folder}x")
    with canned(Answer.error(403, "AccessDenied")) as sts:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", sts.endpoint)
        async with opened(where) as store:
            with pytest.raises(Denied, match="AssumeRoleWithWebIdentity"):
                await work(store, f"{folder}x")


async def test_keys_come_from_the_usual_aws_chain_the_clusters_identity_agent(
    moto: Server, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with EKS Pod Identity: an agent on the node hands out keys."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    keys = {"AccessKeyId": "a", "SecretAccessKey": "b", "Token": "c", "Expiration": "2099-01-01T00:00:00Z"}
    with canned(Answer(body=json.dumps(keys).encode())) as agent:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", agent.endpoint)
        async with opened(moto.location()) as store:
            await work(store, folder)
        assert len(agent.requests) == 1


async def test_whatever_is_asked_for_the_store_keeps_its_promises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path)
    with servers.versitygw(tmp_path / "s3", certified=authority.certify()) as process:
        sign_in(process, monkeypatch)
        where = location(process.endpoint)

        def open_() -> Store:
            return open_store(where, verify="ReadBack", environment={ENV_STORE_CA: authority.certificate})

        for number, promise in enumerate(
            ["a large body streams in pieces, from any byte on", "a name may have any characters"]
        ):
            await CHECKS[promise](Subject(open=open_, log=f"x/{number}"))
