"""The packaged chart, and one release of it that no other release of the cluster meets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.charts import Helm, Release, installed, package


@pytest.fixture(scope="session")
def helm(cluster: object) -> Helm:
    """The cluster's helm."""
    return Helm.of_the_cluster()


@pytest.fixture(scope="session")
def chart(helm: Helm, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive that users install."""
    return package(helm=helm, into=tmp_path_factory.mktemp("package"))


@pytest.fixture(scope="module")
def release(cluster: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """An installed release."""
    with installed(into=tmp_path_factory.mktemp("copy")) as release:
        yield release
