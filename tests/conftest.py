"""What all tests share: one cluster for the whole session, and a namespace for each test.

A running cluster (`make cluster-up`) is used and left running; else one is booted and taken down at the end.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Generator, Iterator

import pytest

from tests.cluster import lifecycle
from tests.cluster.environment import Environment
from tests.cluster.provider import NoClusterError, Provider, kubectl

NEEDS_NODES = "needs_nodes"


def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers."""
    config.addinivalue_line(
        "markers", f"{NEEDS_NODES}: needs nodes or namespaces to do with as it likes; not run where they are not ours"
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """On CI a test that does not run is a failure: nobody reads a list of skips."""
    report = yield
    if report.skipped and os.environ.get("CI") == "true" and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped on CI, where every test has to run: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def cluster() -> Iterator[Provider]:
    """The session's cluster, with the project installed from this work tree."""
    present = lifecycle.running()
    try:
        provider, _ = present or lifecycle.bring_up()
    except NoClusterError as error:
        pytest.exit(str(error), returncode=3)
    yield provider
    if present is None:
        lifecycle.take_down()


@pytest.fixture(autouse=True)
def _skip_without_nodes(request: pytest.FixtureRequest) -> None:
    """Report tests that need nodes as not run on a cluster whose nodes are not ours."""
    if request.node.get_closest_marker(NEEDS_NODES) is not None:
        provider: Provider = request.getfixturevalue("cluster")
        if not provider.controls_nodes:
            pytest.skip(f"not run on the provider {provider.name}: it leaves all but one namespace alone")


@pytest.fixture
def namespace(cluster: Provider) -> Iterator[str]:
    """A fresh namespace, deleted with all in it afterwards; on `current` the one namespace it may use."""
    environment = Environment.read()
    assert environment is not None
    if cluster.shared_namespace:
        yield cluster.shared_namespace
        # The next test finds it as this one did.
        kubectl(environment, "-n", cluster.shared_namespace, "delete", "agenttasks,resourcequotas", "--all")
        return
    name = f"test-{secrets.token_hex(8)}"
    kubectl(environment, "create", "namespace", name)
    yield name
    kubectl(environment, "delete", "namespace", name, "--wait=false")
