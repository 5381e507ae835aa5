"""The development store, as a real pod of the packaged chart."""

from __future__ import annotations

import base64
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from types_boto3_s3 import S3Client

from tests.api.charts import Release
from tests.api.waiting import until
from tests.cluster import images
from tests.cluster.environment import Environment
from tests.cluster.provider import Provider


def test_the_development_store_has_its_bucket_and_refuses_to_overwrite(release: Release, cluster: Provider) -> None:
    if cluster.builder is None:
        pytest.skip(f"not run on the provider {cluster.name}: this test loads an image of its own")
    cluster.load(images=images.build(builder=cluster.builder, targets=("devstore",)))
    repository, _, tag = images.LOCAL["devstore"].rpartition(":")
    release.upgrade(**{"devStore.enabled": True, "image.devStore.repository": repository, "image.devStore.tag": tag})
    name = f"{release.name}-agenttask-devstore"
    deployment = f"/apis/apps/v1/namespaces/{release.namespace}/deployments/{name}"

    def ready() -> bool:
        return bool(release.admin.must("GET", deployment)["status"].get("readyReplicas"))

    until("the store's pod is ready", ready)
    secret = release.admin.must("GET", f"/api/v1/namespaces/{release.namespace}/secrets/{name}")
    with forwarded(release, to=f"service/{name}") as endpoint:
        store = client(endpoint=endpoint, secret=secret["data"])
        store.put_object(Bucket="agenttask", Key="a/b", Body=b"first", IfNoneMatch="*")
        with pytest.raises(ClientError, match="PreconditionFailed"):
            store.put_object(Bucket="agenttask", Key="a/b", Body=b"second", IfNoneMatch="*")
        assert store.get_object(Bucket="agenttask", Key="a/b")["Body"].read() == b"first"
        assert [one["Name"] for one in store.list_buckets()["Buckets"]] == ["agenttask"]


def client(*, endpoint: str, secret: dict[str, str]) -> S3Client:
    """A client with the keys of a Secret."""
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=base64.b64decode(secret["AWS_ACCESS_KEY_ID"]).decode(),
        aws_secret_access_key=base64.b64decode(secret["AWS_SECRET_ACCESS_KEY"]).decode(),
        config=Config(s3={"addressing_style": "path"}, proxies={}, retries={"max_attempts": 3}),
    )


@contextmanager
def forwarded(release: Release, *, to: str) -> Iterator[str]:
    """The address on this machine of a port-forward to port 7070."""
    environment = Environment.read()
    assert environment is not None
    kubectl = next(Path(one) / "kubectl" for one in environment.path.split(":") if (Path(one) / "kubectl").exists())
    config = f"--kubeconfig={environment.kubeconfig}"
    command: list[str | Path] = [kubectl, config, "-n", release.namespace, "port-forward", to, ":7070"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as forward:
        try:
            assert forward.stdout is not None
            said = re.search(r"127\.0\.0\.1:(\d+)", forward.stdout.readline())
            assert said is not None
            yield f"http://127.0.0.1:{said[1]}"
        finally:
            forward.terminate()
