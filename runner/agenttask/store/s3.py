"""A store in an S3 bucket: put-if-absent is `If-None-Match: *`.

botocore is synchronous, so calls run in worker threads; the client is made in one too, from construction on, so that
its quarter of a second passes while the rest of the runner is being imported. Whether and how long to try again is the
caller's business: botocore's own retries are off, since a caller has to know of every put that may have landed.
"""

from __future__ import annotations

import asyncio
import base64
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar, cast

from agenttask.errors import TooLarge
from agenttask.store.base import Entry

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client

CONNECT_SECONDS: Final = 3
READ_SECONDS: Final = 5
"""How long one try may wait for a connection, and for each piece of an answer. They bound how long a try that hangs
outlasts its caller's patience."""
CALLS_AT_ONCE: Final = 16

P = ParamSpec("P")
T = TypeVar("T")


class S3Store:
    """Objects in a bucket. Without `endpoint`, AWS itself; credentials come from the usual AWS chain."""

    def __init__(self, *, bucket: str, endpoint: str | None = None, region: str | None = None) -> None:
        self._bucket = bucket
        self._threads = ThreadPoolExecutor(max_workers=CALLS_AT_ONCE, thread_name_prefix="s3")
        self._client: Future[S3Client] = self._threads.submit(_make_client, endpoint, region)

    async def get(self, key: str, *, max_bytes: int) -> bytes:
        return await self._call(self._get, key, max_bytes)

    async def put_if_absent(self, key: str, body: bytes, *, first: bool) -> None:
        await self._call(self._put, key, body)

    async def list(self, prefix: str, *, after: str | None) -> Sequence[Entry]:
        return await self._call(self._list, prefix, after)

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

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
        answer = self._client.result().get_object(Bucket=self._bucket, Key=key)
        with answer["Body"] as body:
            if answer["ContentLength"] > max_bytes:
                raise TooLarge(f"{key} has {answer['ContentLength']} bytes, more than {max_bytes}")
            return body.read()

    def _put(self, key: str, body: bytes) -> None:
        client = self._client.result()
        client.put_object(Bucket=self._bucket, Key=key, Body=body, IfNoneMatch="*", ChecksumCRC32=_checksum(body))

    def _list(self, prefix: str, after: str | None) -> Sequence[Entry]:
        pages = self._client.result().get_paginator("list_objects_v2")
        start = {} if after is None else {"StartAfter": after}
        found = [
            Entry(key=item["Key"], size=item["Size"])
            for page in pages.paginate(Bucket=self._bucket, Prefix=prefix, Delimiter="/", **cast(Any, start))
            for item in page.get("Contents", ())
        ]
        return sorted(found)


def _checksum(body: bytes) -> str:
    """The checksum the store verifies, for a header of our own making.

    botocore, left to itself, sends it over TLS as a trailer of a chunked body, which many stores do not take.
    """
    return base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()


def _make_client(endpoint: str | None, region: str | None) -> S3Client:
    # botocore's session, not boto3's: the same client without resources and transfers, 50 ms sooner.
    import botocore.config  # noqa: PLC0415 - see the module's docstring
    import botocore.session  # noqa: PLC0415

    session = botocore.session.get_session()
    config = botocore.config.Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        retries={"total_max_attempts": 1},
        max_pool_connections=CALLS_AT_ONCE,
        # "when_required" keeps botocore from adding a checksum of its own, or demanding one of every answer.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"addressing_style": "path" if endpoint else "auto"},
    )
    client = session.create_client(
        "s3",
        endpoint_url=endpoint,
        region_name=region or session.get_config_variable("region") or "us-east-1",
        config=config,
    )
    return cast("S3Client", client)
