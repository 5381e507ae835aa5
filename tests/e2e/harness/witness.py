"""The checkpoint log as it lies in the bucket, read past the runner and verified by the project's own chain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import boto3
from agenttask.contract import log_prefix
from agenttask.log.chain import GENESIS, Found, assemble
from agenttask.log.keys import Keys
from agenttask.log.record import Kind, Record, parse
from botocore.config import Config

from tests.e2e.harness.tasks import Task


@dataclass(frozen=True, kw_only=True)
class Log:
    """A task's log at one moment: all its records, in order, each verified against the one before."""

    records: tuple[Record, ...]

    @property
    def claims(self) -> tuple[Record, ...]:
        """The claims, one per attempt that got so far."""
        return tuple(record for record in self.records if record.kind is Kind.CLAIM)

    def claim(self, attempt: int) -> Record | None:
        """The newest claim of an attempt."""
        return next((record for record in reversed(self.claims) if record.attempt == attempt), None)

    def by_key(self, key: str) -> Record:
        """The record under `key`. Raises AssertionError if it is not on the chain."""
        found = next((record for record in self.records if record.key == key), None)
        assert found is not None, f"no record {key} in {[record.key for record in self.records]}"
        return found

    def replies(self) -> int:
        """How many steps the log holds: model replies recorded."""
        return self.records[-1].step if self.records else 0


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where one log lies."""

    bucket: str
    prefix: str


class Bucket:
    """The test's S3 server, seen from this machine."""

    def __init__(self, *, endpoint: str, region: str, access_key_id: str, secret_access_key: str) -> None:
        self._s3: Any = boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name=region,
            aws_access_key_id=access_key_id,
            aws_secret_access_key=secret_access_key,
            config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 3}),
        )

    def ensure(self, bucket: str) -> None:
        """Make the bucket if it is not there."""
        if bucket not in [found["Name"] for found in self._s3.list_buckets()["Buckets"]]:
            self._s3.create_bucket(Bucket=bucket)

    def log(self, task: Task) -> Log:
        """The task's log, wherever its status says it lies; empty before the location was resolved."""
        location = task.status().get("location")
        if location is None:
            return Log(records=())
        prefix = log_prefix(prefix=location.get("prefix", ""), namespace=task.namespace, name=task.name, uid=task.uid)
        keys, found = Keys(prefix=prefix), dict[int, Found]()
        for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=location["bucket"], Prefix=keys.records):
            for entry in page.get("Contents", []):
                seq = keys.seq(entry["Key"])
                assert seq is not None, f"a stray object in the log: {entry['Key']}"
                body = self._s3.get_object(Bucket=location["bucket"], Key=entry["Key"])["Body"].read()
                found[seq] = parse(key=entry["Key"], seq=seq, body=body)
        chain = assemble(base=GENESIS, head=max(found, default=0), found=found, task=None)
        assert len(chain.records) == len(found), f"records that do not fit: {chain.misfits}"
        return Log(records=chain.records)

    def objects(self, task: Task) -> dict[str, int]:
        """Key and size of everything the task has in the bucket."""
        return self.below(self.place(task))

    def place(self, task: Task) -> Place:
        """Where the task's log lies, for when the task is gone."""
        location = task.status()["location"]
        prefix = log_prefix(prefix=location.get("prefix", ""), namespace=task.namespace, name=task.name, uid=task.uid)
        return Place(bucket=location["bucket"], prefix=prefix)

    def below(self, place: Place) -> dict[str, int]:
        """Key and size of everything that lies there."""
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=place.bucket, Prefix=f"{place.prefix}/")
        return {entry["Key"]: entry["Size"] for page in pages for entry in page.get("Contents", [])}

    def kinds(self, place: Place) -> list[Kind]:
        """What the records that lie there are, in order."""
        found = []
        for key in sorted(self.below(place)):
            seq = Keys(prefix=place.prefix).seq(key)
            assert seq is not None, f"not a record: {key}"
            body = self._s3.get_object(Bucket=place.bucket, Key=key)["Body"].read()
            found.append(parse(key=key, seq=seq, body=body).kind)
        return found

    def damage(self, task: Task, key: str) -> None:
        """Flip the last bit of an object, as a store should never do."""
        place = {"Bucket": task.status()["location"]["bucket"], "Key": key}
        body = bytearray(self._s3.get_object(**place)["Body"].read())
        body[-1] ^= 1
        self._s3.put_object(**place, Body=bytes(body))

    def close(self) -> None:
        """Let go of the connections."""
        self._s3.close()
