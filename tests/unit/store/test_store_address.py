"""What people type for a store, and the location or the advice it becomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from agenttask.contract import Durability, Location
from agenttask.errors import Misconfigured
from agenttask.store.address import FORMS, location_of

AOF = Durability(aof=True, replicas=0)


@dataclass(frozen=True, kw_only=True)
class Case:
    address: str
    want: Location
    environment: Mapping[str, str] = field(default_factory=dict)


ADDRESSES = {
    "a bucket is on AWS, its region left to AWS's own chain": Case(
        address="s3://agents", want=Location(type="s3", bucket="agents")
    ),
    "what follows the bucket is the prefix, without slashes at its ends": Case(
        address="s3://agents/prod/eu/", want=Location(type="s3", bucket="agents", prefix="prod/eu")
    ),
    "AWS's variables say which server and which region": Case(
        address="s3://agents/prod",
        environment={"AWS_ENDPOINT_URL_S3": "http://localhost:7070", "AWS_REGION": "eu-west-1"},
        want=Location(type="s3", bucket="agents", prefix="prod", endpoint="http://localhost:7070", region="eu-west-1"),
    ),
    "the variable for S3 alone goes before the one for all services": Case(
        address="s3://agents",
        environment={"AWS_ENDPOINT_URL_S3": "http://s3", "AWS_ENDPOINT_URL": "http://all"},
        want=Location(type="s3", bucket="agents", endpoint="http://s3"),
    ),
    "the variables for all services and the older name of the region do too": Case(
        address="s3://agents",
        environment={"AWS_ENDPOINT_URL": "http://all", "AWS_DEFAULT_REGION": "us-west-2", "AWS_ENDPOINT_URL_S3": ""},
        want=Location(type="s3", bucket="agents", endpoint="http://all", region="us-west-2"),
    ),
    "a Redis server's database is 0 where none is named": Case(
        address="redis://host", want=Location(type="redis", endpoint="redis://host/0", durability=AOF)
    ),
    "what follows the database is the prefix": Case(
        address="redis://host:6380/2/prod/eu/",
        want=Location(type="redis", endpoint="redis://host:6380/2", prefix="prod/eu", durability=AOF),
    ),
    "rediss stays rediss": Case(
        address="rediss://host:6379/0", want=Location(type="redis", endpoint="rediss://host:6379/0", durability=AOF)
    ),
    "what a write waits for, and how long a finished log is kept, are options": Case(
        address="redis://host/0/p?aof=false&replicas=2&ttl=60",
        want=Location(
            type="redis",
            endpoint="redis://host/0",
            prefix="p",
            durability=Durability(aof=False, replicas=2),
            ttl_seconds=60,
        ),
    ),
    "a folder is a folder": Case(address="/var/logs", want=Location(type="filesystem", path="/var/logs")),
    "a relative folder is one below the working folder": Case(
        address="logs/x", want=Location(type="filesystem", path=str(Path.cwd() / "logs/x"))
    ),
    "a folder that looks like an address is one when it begins with a dot": Case(
        address="./s3:/x", want=Location(type="filesystem", path=str(Path.cwd() / "s3:/x"))
    ),
    "a Redis server may be an IPv6 address": Case(
        address="redis://[::1]:6379/0",
        want=Location(type="redis", endpoint="redis://[::1]:6379/0", durability=AOF),
    ),
    "a file URL is a folder, its escapes undone": Case(
        address="file:///var/my%20logs", want=Location(type="filesystem", path="/var/my logs")
    ),
}


@pytest.mark.parametrize("sentence", ADDRESSES)
def test_an_address_is_a_location(sentence: str) -> None:
    case = ADDRESSES[sentence]
    assert location_of(case.address, environment=case.environment) == case.want


NO_ADDRESSES = {
    "gs://bucket/prefix": "gs://bucket/prefix is no store; give " + FORMS,
    "http://host/bucket": "give " + FORMS,
    "S4://bucket": "give " + FORMS,
    "s3:///prefix": "s3:///prefix names no bucket; give s3://bucket/prefix",
    "s3://a..b/prefix": "s3://a..b/prefix: a..b is no bucket's name, which has 3 to 63 small letters",
    "s3://-a0": "-a0 is no bucket's name",
    "s3://a0.": "a0. is no bucket's name",
    "s3://ab": "ab is no bucket's name",
    f"s3://{'a' * 64}": "is no bucket's name",
    "s3://Agents/prod": "Agents is no bucket's name",
    "s3://10.0.0.1": "10.0.0.1 is no bucket's name",
    "s3://me:secret@agents": "set AWS_ACCESS_KEY_ID",
    "file://host/folder": "give " + FORMS,
    "file://": "give " + FORMS,
    "redis://:6379/0": "names no server and database; give redis://host:6379/0/prefix",
    "redis://host/prefix": "names no server and database; give redis://host:6379/0/prefix",
    "redis://me:secret@host/0": "set REDIS_PASSWORD",
    "redis://host/0?ttl=7&wait=1": "wait is not known; there are aof, replicas and ttl",
    "redis://host/0?aof=yes": "aof is true or false",
    "redis://host/0?replicas=two": "replicas and ttl are numbers",
    "redis://host/0?ttl=1h": "replicas and ttl are numbers",
    "redis://host/0?replicas=-1": "replicas and ttl are numbers",
    "redis://host/0?ttl=-1": "replicas and ttl are numbers",
    "redis://host:port/0": "names no server and database",
    "redis://host:65536/0": "names no server and database",
    "redis://[::1/0": "cannot be read",
    "redis://host/0#part": "give " + FORMS,
    "redis://host/0?ttl=": "replicas and ttl are numbers",
    "redis://host/\N{SUPERSCRIPT TWO}": "names no server and database",
    "s3://bucket/prefix?region=x": "give " + FORMS,
    "s3:/bucket/prefix": "names no bucket; give s3://bucket/prefix",
    "": "nothing is no store; give " + FORMS,
}


@pytest.mark.parametrize("address", NO_ADDRESSES)
def test_an_address_that_is_none_is_refused_and_says_what_would_be_one(address: str) -> None:
    with pytest.raises(Misconfigured) as refused:
        location_of(address, environment={})
    assert NO_ADDRESSES[address] in str(refused.value)
    assert "secret" not in str(refused.value)
