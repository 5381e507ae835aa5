"""What is given as certificates of an authority is looked at before a server is asked."""

from __future__ import annotations

import pytest
from agenttask.errors import Misconfigured
from agenttask.store import redis, s3
from agenttask.store.tls import checked

NO_CERTIFICATES = {
    "nothing": "",
    "a blank line": "\n",
    "something else": "not PEM",
    "a damaged one": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    "a key": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    "what is not ASCII": "-----BEGIN CERTIFICATE-----\n\N{EURO SIGN}\n-----END CERTIFICATE-----\n",
}


@pytest.mark.parametrize("ca", NO_CERTIFICATES.values(), ids=NO_CERTIFICATES.keys())
def test_it_is_misconfigured_on_every_store_if_it_is(ca: str) -> None:
    with pytest.raises(Misconfigured, match="caConfigMapRef"):
        checked(ca)
    with pytest.raises(Misconfigured, match="caConfigMapRef"):
        redis.RedisStore(server=redis.Server(url="rediss://127.0.0.1:1/0", ca=ca))
    with pytest.raises(Misconfigured, match="caConfigMapRef"):
        s3.S3Store(bucket="bucket", server=s3.Server(endpoint="https://127.0.0.1:1", ca=ca))
