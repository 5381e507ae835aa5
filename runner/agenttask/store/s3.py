"""A store in an S3 bucket: put-if-absent is `If-None-Match: *`.

botocore is synchronous, so calls run in worker threads; the client is made in one too, from construction on, so that
its quarter of a second passes while the rest of the runner is being imported. Whether and how long to try again is the
caller's business: botocore's own retries are off, since a caller has to know of every put that may have landed.
"""

from __future__ import annotations

import asyncio
import base64
import tempfile
import zlib
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any, Final, Literal, ParamSpec, TypeVar, cast

from agenttask.errors import TooLarge, Unavailable
from agenttask.store.base import Entry, Source
from agenttask.store.source import spooled
from agenttask.store.tls import checked

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from types_boto3_s3.client import S3Client
    from types_boto3_s3.type_defs import GetObjectOutputTypeDef

CONNECT_SECONDS: Final = 5
READ_SECONDS: Final = 30
"""How long one try may wait for a connection, and for each piece of an answer: a checkpoint of many MiB takes its time.
They bound how long a try that hangs outlasts its caller's patience."""
CALLS_AT_ONCE: Final = 16
PIECE_BYTES: Final = 1 << 20

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Encryption:
    """How the server encrypts what it keeps: with its own key, or with one of its key service."""

    type: Literal["SSE-S3", "SSE-KMS"]
    kms_key_id: str | None = None
    """None: the account's default key for S3."""

    def headers(self) -> dict[str, str]:
        """Arguments of every PUT."""
        if self.type == "SSE-S3":
            return {"ServerSideEncryption": "AES256"}
        key = {} if self.kms_key_id is None else {"SSEKMSKeyId": self.kms_key_id}
        return {"ServerSideEncryption": "aws:kms", **key}


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """Keys of an S3 server."""

    access_key_id: str
    secret_access_key: str | None = field(repr=False)
    session_token: str | None = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Server:
    """Where an S3 server is and how it wants to be spoken to."""

    endpoint: str | None = None
    """None: AWS itself."""
    region: str | None = None
    """None: the environment's, else us-east-1."""
    addressing: Literal["Path", "Virtual"] | None = None
    """Whether the bucket stands in the path or in the host name. None: in the path, but as AWS wants it on AWS."""
    ca: str | None = None
    """The certificates that vouch for the server, PEM, instead of the machine's (or AWS_CA_BUNDLE's)."""
    encryption: Encryption | None = None
    credentials: Credentials | None = None
    """None: those of the usual AWS chain."""


class S3Store:
    """Objects in a bucket."""

    def __init__(self, *, bucket: str, server: Server) -> None:
        self._bucket = bucket
        self._extra: dict[str, Any] = {} if server.encryption is None else dict(server.encryption.headers())
        self._trusted = None if server.ca is None else _kept(checked(server.ca))
        trusted = None if self._trusted is None else self._trusted.name
        self._threads = ThreadPoolExecutor(max_workers=CALLS_AT_ONCE, thread_name_prefix="s3")
        self._client: Future[S3Client] = self._threads.submit(_make_client, server, trusted)

    async def get(self, key: str, *, max_bytes: int) -> bytes:
        return await self._call(self._get, key, max_bytes)

    async def stream(self, key: str, *, offset: int = 0) -> AsyncGenerator[bytes, None]:
        body = await self._call(self._open, key, offset)
        if body is None:
            return
        try:
            while piece := await self._call(body.read, PIECE_BYTES):
                yield piece
        finally:
            body.close()

    async def put_if_absent(self, key: str, body: bytes, *, first: bool, last: bool = False) -> None:
        await self._call(self._put, key, body)

    async def put_stream_if_absent(self, key: str, source: Source, *, first: bool) -> None:
        # A put may have to read its body twice (over plain HTTP the signature comes first), and from a thread.
        async with spooled(source) as file:
            await self._call(self._put_file, key, source, file)

    async def delete(self, key: str) -> None:
        await self._call(self._delete, key)

    async def list(self, prefix: str, *, after: str | None) -> Sequence[Entry]:
        return await self._call(self._list, prefix, after)

    async def folders(self, prefix: str) -> Sequence[str]:
        return await self._call(self._folders, prefix)

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._trusted is not None:
            self._trusted.close()

    async def _call(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        def run() -> T:
            try:
                return work(*args, **kwargs)
            except Exception as error:
                from agenttask.store.s3_errors import translated  # noqa: PLC0415 - imports botocore

                if (known := translated(error, bucket=self._bucket)) is None:
                    raise
                raise known from error

        return await asyncio.get_running_loop().run_in_executor(self._threads, run)

    def _get(self, key: str, max_bytes: int) -> bytes:
        answer = _whole(self._client.result().get_object(Bucket=self._bucket, Key=key))
        with answer["Body"] as body:
            if answer["ContentLength"] > max_bytes:
                raise TooLarge(f"{key} has {answer['ContentLength']} bytes, more than {max_bytes}")
            return body.read()

    def _open(self, key: str, offset: int) -> StreamingBody | None:
        """The body from `offset` on; None if the object ends there."""
        from botocore.exceptions import ClientError  # noqa: PLC0415 - see the module's docstring

        client = self._client.result()
        if offset == 0:
            return _whole(client.get_object(Bucket=self._bucket, Key=key))["Body"]
        try:
            answer = _whole(client.get_object(Bucket=self._bucket, Key=key, Range=f"bytes={offset}-"))
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 416:
                return None
            raise
        if "ContentRange" not in answer:  # a server that knows no ranges sends all
            while offset and (skipped := answer["Body"].read(min(offset, PIECE_BYTES))):
                offset -= len(skipped)
        return answer["Body"]

    def _put(self, key: str, body: bytes) -> None:
        checksum = _crc32(body)
        self._client.result().put_object(
            Bucket=self._bucket, Key=key, Body=body, IfNoneMatch="*", ChecksumCRC32=checksum, **self._extra
        )

    def _put_file(self, key: str, source: Source, file: IO[bytes]) -> None:
        self._client.result().put_object(
            Bucket=self._bucket,
            Key=key,
            Body=file,
            ContentLength=source.size,
            IfNoneMatch="*",
            ChecksumSHA256=base64.b64encode(bytes.fromhex(source.sha256)).decode(),
            **self._extra,
        )

    def _delete(self, key: str) -> None:
        self._client.result().delete_object(Bucket=self._bucket, Key=key)

    def _list(self, prefix: str, after: str | None) -> Sequence[Entry]:
        start = {} if after is None else {"StartAfter": after}
        return sorted(
            Entry(key=item["Key"], size=item["Size"])
            for page in self._pages(prefix, **start)
            for item in page.get("Contents", ())
        )

    def _folders(self, prefix: str) -> Sequence[str]:
        return sorted(folder["Prefix"] for page in self._pages(prefix) for folder in page.get("CommonPrefixes", ()))

    def _pages(self, prefix: str, **more: Any) -> Iterator[Any]:
        pages = self._client.result().get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=self._bucket, Prefix=prefix, Delimiter="/", **more):
            if "IsTruncated" not in page:
                # An answer cut in its headers has no body, which botocore takes for a listing of nothing.
                raise Unavailable("the listing was cut before its end")
            yield page


def _whole(answer: GetObjectOutputTypeDef) -> GetObjectOutputTypeDef:
    """The answer, unless it was cut in its headers: where its body would end is not known then."""
    if "ContentLength" not in answer:
        answer["Body"].close()
        raise Unavailable("the answer was cut in its headers")
    return answer


def _crc32(body: bytes) -> str:
    """The checksum the store verifies, for a header of our own making.

    botocore, left to itself, sends it over TLS as a trailer of a chunked body, which many stores do not take.
    """
    return base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()


def _kept(ca: str) -> IO[str]:
    """A file with the certificates: botocore reads them anew for each connection. Gone when closed."""
    file = tempfile.NamedTemporaryFile("w", suffix=".pem")  # noqa: SIM115 - lives as long as the store
    file.write(ca)
    file.flush()
    return file


def _make_client(server: Server, trusted: str | None) -> S3Client:
    # botocore's session, not boto3's: the same client without resources and transfers, 50 ms sooner.
    import botocore.config  # noqa: PLC0415 - see the module's docstring
    import botocore.session  # noqa: PLC0415

    session = botocore.session.get_session()
    style = {"Path": "path", "Virtual": "virtual", None: "path" if server.endpoint else "auto"}[server.addressing]
    config = botocore.config.Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        retries={"total_max_attempts": 1},
        max_pool_connections=CALLS_AT_ONCE,
        # "when_required" keeps botocore from adding a checksum of its own, or demanding one of every answer.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3=cast(Any, {"addressing_style": style}),
    )
    keys = server.credentials
    client = session.create_client(
        "s3",
        endpoint_url=server.endpoint,
        region_name=server.region or session.get_config_variable("region") or "us-east-1",
        config=config,
        verify=trusted,
        aws_access_key_id=keys.access_key_id if keys else None,
        aws_secret_access_key=keys.secret_access_key if keys else None,
        aws_session_token=keys.session_token if keys else None,
    )
    return cast("S3Client", client)
