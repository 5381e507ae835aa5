"""Which store a location opens, with which secrets; nothing is asked of it yet."""

from __future__ import annotations

from pathlib import Path

import pytest
from agenttask.contract import STORE_DIR, Location
from agenttask.errors import Misconfigured
from agenttask.store import filesystem, open_store, readback, redis, s3

NOWHERE: dict[str, tuple[Location, str]] = {
    "a bucket": (Location(type="s3"), "no bucket"),
    "a Redis URL": (Location(type="redis"), "no Redis URL"),
    "a folder": (Location(type="filesystem"), "no folder"),
}


@pytest.mark.parametrize(("location", "words"), NOWHERE.values(), ids=NOWHERE.keys())
def test_a_location_is_refused_without(location: Location, words: str) -> None:
    with pytest.raises(Misconfigured, match=words):
        open_store(location, environment={})


FOLDERS = {
    "a folder of this machine": (Location(type="filesystem", path="/some/where"), Path("/some/where")),
    "a claim, mounted where the operator mounts it": (Location(type="filesystem", claim_name="c"), Path(STORE_DIR)),
    "a folder of a claim": (Location(type="filesystem", claim_name="c", path="a/b"), Path(STORE_DIR, "a", "b")),
}


@pytest.mark.parametrize(("location", "root"), FOLDERS.values(), ids=FOLDERS.keys())
def test_a_filesystem_store_lies_in(location: Location, root: Path) -> None:
    store = open_store(location, environment={})
    assert isinstance(store, filesystem.FilesystemStore)
    assert store._root == root


async def test_each_kind_of_location_opens_its_store_and_reads_back_if_asked() -> None:
    locations = {
        s3.S3Store: Location(type="s3", bucket="b", endpoint="http://127.0.0.1:1"),
        redis.RedisStore: Location(type="redis", endpoint="redis://127.0.0.1:1/0"),
    }
    for kind, location in locations.items():
        store = open_store(location, environment={})
        wrapped = open_store(location, verify="ReadBack", environment={})
        assert type(store) is kind
        assert isinstance(wrapped, readback.ReadBackStore)
        for each in (store, wrapped):
            await each.close()


async def test_a_redis_store_has_the_password_of_the_environment_and_what_the_location_says() -> None:
    location = Location(type="redis", endpoint="redis://127.0.0.1:1/0", ttl_seconds=60)
    store = open_store(location, environment={"REDIS_USERNAME": "agents", "REDIS_PASSWORD": "secret"})
    assert isinstance(store, redis.RedisStore)
    assert store._server == redis.Server(url="redis://127.0.0.1:1/0", username="agents", password="secret")
    assert store._ttl_seconds == 60
    await store.close()
