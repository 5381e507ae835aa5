"""Each answer of an S3 server, and each way of giving none, becomes the error that says what to do about it."""

from __future__ import annotations

import asyncio
import base64
import socket
import zlib
from pathlib import Path

import pytest
from agenttask.errors import Absent, Denied, Exists, Full, Misconfigured, NotFound, StoreError, Unavailable
from agenttask.store import s3
from agenttask.store.s3 import S3Store

from tests.api.store.canned import Answer, canned
from tests.api.store.certificates import Authority
from tests.api.store.conftest import Server
from tests.e2e.harness.wait import PATIENCE_SECONDS

pytestmark = pytest.mark.usefixtures("keys")


def store_at(endpoint: str, *, bucket: str = "bucket") -> S3Store:
    return S3Store(bucket=bucket, server=s3.Server(endpoint=endpoint, region="us-east-1"))


ANSWERS: dict[str, tuple[Answer, type[StoreError]]] = {
    "another conditional put is under way": (Answer.error(409, "ConditionalRequestConflict"), Unavailable),
    "the key is taken": (Answer.error(412, "PreconditionFailed"), Exists),
    "slow down": (Answer.error(503, "SlowDown"), Unavailable),
    "too many requests": (Answer.error(429, "TooManyRequests"), Unavailable),
    "the server failed": (Answer.error(500, "InternalError"), Unavailable),
    "the disk is full": (Answer.error(507, "XMinioStorageFull"), Full),
    "the quota is used up": (Answer.error(403, "QuotaExceeded"), Full),
    "a gateway answers in HTML": (Answer(status=502, body=b"<html>bad gateway</html>"), Unavailable),
    "the body arrived damaged": (Answer.error(400, "BadDigest"), Unavailable),
    "the body did not arrive whole": (Answer.error(400, "IncompleteBody"), Unavailable),
    "the body took too long": (Answer.error(400, "RequestTimeout"), Unavailable),
    "access denied": (Answer.error(403, "AccessDenied"), Denied),
    "an unknown key": (Answer.error(403, "InvalidAccessKeyId"), Denied),
    "a wrong secret": (Answer.error(403, "SignatureDoesNotMatch"), Denied),
    "a clock too far off": (Answer.error(403, "RequestTimeTooSkewed"), Denied),
    "an expired token": (Answer.error(400, "ExpiredToken"), Denied),
    "no bucket": (Answer.error(404, "NoSuchBucket"), NotFound),
    "nothing of S3 at this address": (Answer(status=404, body=b"not found"), NotFound),
    "conditional puts are not implemented": (Answer.error(501, "NotImplemented"), Misconfigured),
    "another argument is refused": (Answer.error(400, "InvalidArgument"), Misconfigured),
}


@pytest.mark.parametrize(("answer", "error"), ANSWERS.values(), ids=ANSWERS.keys())
async def test_an_answer_to_a_put_says_what_to_do(answer: Answer, error: type[StoreError]) -> None:
    with canned(answer) as server:
        with pytest.raises(error) as caught:
            await store_at(server.endpoint).put_if_absent("a", b"body", first=False)
        assert type(caught.value) is error
        assert len(server.requests) == 1, "whether to ask again is the caller's business"


async def test_a_missing_key_is_told_from_a_missing_bucket() -> None:
    with canned(Answer.error(404, "NoSuchKey")) as server, pytest.raises(Absent):
        await store_at(server.endpoint).get("a", max_bytes=10)
    with canned(Answer.error(404, "NoSuchBucket")) as server, pytest.raises(NotFound, match="bucket-x"):
        await store_at(server.endpoint, bucket="bucket-x").get("a", max_bytes=10)


async def test_a_body_cut_on_its_way_is_unavailable() -> None:
    with canned(Answer(body=b"0123456789", cut=4)) as server, pytest.raises(Unavailable):
        await store_at(server.endpoint).get("a", max_bytes=10)


async def test_a_listing_cut_on_its_way_is_unavailable() -> None:
    whole = b"<ListBucketResult><Contents><Key>a</Key><Size>1</Size></Contents></ListBucketResult>"
    for answer in (Answer(body=whole, cut=30), Answer(body=whole[:-30])):
        with canned(answer) as server, pytest.raises(Unavailable):
            await store_at(server.endpoint).list("a/", after=None)


async def test_a_server_that_hangs_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "READ_SECONDS", 0.2)
    with canned(Answer(hang=True)) as server, pytest.raises(Unavailable):
        async with asyncio.timeout(PATIENCE_SECONDS):
            await store_at(server.endpoint).put_if_absent("a", b"x", first=False)


async def test_nobody_listening_is_unavailable() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        with pytest.raises(Unavailable):
            await store_at(f"http://127.0.0.1:{port}").list("a/", after=None)


async def test_a_name_that_does_not_resolve_is_unavailable() -> None:
    with pytest.raises(Unavailable):
        await store_at("http://nowhere.invalid").list("a/", after=None)


@pytest.mark.parametrize("endpoint", ["not a url", "ftp://host", "http://"])
async def test_an_endpoint_that_is_no_url_is_misconfigured(endpoint: str) -> None:
    with pytest.raises(Misconfigured):
        await store_at(endpoint).list("a/", after=None)


async def test_a_bucket_that_is_no_name_is_misconfigured() -> None:
    with pytest.raises(Misconfigured):
        await store_at("http://127.0.0.1:1", bucket="no/name").list("a/", after=None)


async def test_no_credentials_at_all_are_denied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(Denied):
        await store_at("http://127.0.0.1:1").list("a/", after=None)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "half")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(Denied):
        await store_at("http://127.0.0.1:1").list("a/", after=None)


@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SESSION_TOKEN"])
async def test_a_key_that_no_header_can_carry_is_denied_and_not_quoted(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "private-part\n")
    with pytest.raises(Denied) as caught:
        await store_at("http://127.0.0.1:1").list("a/", after=None)
    assert "private-part" not in str(caught.value)


async def test_over_tls_a_put_is_a_plain_body_with_its_checksum_in_a_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path)
    trusted = tmp_path / "trusted.pem"
    trusted.write_text(authority.certificate)
    with canned(Answer(), tls=authority.certify().context()) as server:
        with pytest.raises(Misconfigured, match="CERTIFICATE_VERIFY_FAILED"):
            await store_at(server.endpoint).put_if_absent("a", b"body", first=False)
        monkeypatch.setenv("AWS_CA_BUNDLE", str(trusted))
        await store_at(server.endpoint).put_if_absent("a", b"body", first=False)
        _, headers, body = server.requests[-1]
    assert body == b"body"
    assert headers["if-none-match"] == "*"
    assert headers["x-amz-checksum-crc32"] == base64.b64encode(zlib.crc32(b"body").to_bytes(4, "big")).decode()
    assert "aws-chunked" not in headers.get("content-encoding", "")
    assert not {"x-amz-trailer", "transfer-encoding"} & headers.keys()


REFUSED: dict[str, tuple[dict[str, str], type[StoreError]]] = {
    "a wrong secret": ({"AWS_SECRET_ACCESS_KEY": "wrong"}, Denied),
    "an unknown key": ({"AWS_ACCESS_KEY_ID": "nobody"}, Denied),
}


@pytest.mark.parametrize(("changed", "error"), REFUSED.values(), ids=REFUSED.keys())
async def test_a_real_server_denies_wrong_keys(
    versitygw: Server, monkeypatch: pytest.MonkeyPatch, changed: dict[str, str], error: type[StoreError]
) -> None:
    for name, value in changed.items():
        monkeypatch.setenv(name, value)
    store = versitygw.store()
    with pytest.raises(error):
        await store.list("a/", after=None)
    with pytest.raises(error):
        await store.put_if_absent("a/b", b"x", first=True)
    with pytest.raises(error):
        await store.get("a/b", max_bytes=10)


async def test_a_real_servers_missing_bucket_is_not_found(versitygw: Server) -> None:
    store = versitygw.store(bucket="no-such-bucket")
    with pytest.raises(NotFound, match="no-such-bucket"):
        await store.list("a/", after=None)
    with pytest.raises(NotFound, match="no-such-bucket"):
        await store.put_if_absent("a/b", b"x", first=True)
    with pytest.raises(NotFound, match="no-such-bucket"):
        await store.get("a/b", max_bytes=10)


async def test_a_real_server_refuses_a_body_that_does_not_match_its_checksum(
    versitygw: Server, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = versitygw.store()
    with monkeypatch.context() as damaged:
        damaged.setattr(s3, "_crc32", lambda _: "AAAAAA==")
        with pytest.raises(Unavailable):
            await store.put_if_absent(f"{folder}/a", b"body", first=True)
    assert await store.list(f"{folder}/", after=None) == []
