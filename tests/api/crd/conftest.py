"""One copy of the API and its policy for all tests of this folder."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator

import pytest

from tests.api.client import Client
from tests.api.crd.installed import Caller, Copy
from tests.cluster.environment import Environment


@pytest.fixture(scope="session")
def copy(cluster: object) -> Iterator[Copy]:
    """The installed copy, with a namespace of its own."""
    environment = Environment.read()
    assert environment is not None
    admin = Client.from_kubeconfig(environment.kubeconfig)
    name = f"t{secrets.token_hex(3)}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{environment.path}:{os.environ['PATH']}")
        admin.must("POST", "/api/v1/namespaces", body={"metadata": {"name": name}})
        made = Copy(admin=admin, name=name, namespace=name)
        try:
            made.install()
            yield made
        finally:
            made.remove()
            admin.send("DELETE", f"/api/v1/namespaces/{name}")


@pytest.fixture(scope="session")
def runner(copy: Copy) -> Caller:
    """The pod of a current attempt."""
    return copy.caller("current")
