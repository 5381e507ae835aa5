"""One copy of the API and its policy for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.api.charts import Release, installed
from tests.api.crd.installed import Caller, Copy


@pytest.fixture(scope="session")
def release(cluster: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """The release that brought the copy."""
    with installed(into=tmp_path_factory.mktemp("copy")) as release:
        yield release


@pytest.fixture(scope="session")
def copy(release: Release) -> Copy:
    """The copy, served and enforced."""
    return Copy.of(release)


@pytest.fixture(scope="session")
def runner(copy: Copy) -> Caller:
    """The pod of a current attempt."""
    return copy.caller("current")
