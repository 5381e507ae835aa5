"""From nothing to a cluster with the project installed on it, and back: what `make cluster-up` and the tests call."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor

from tests.cluster import chart, images
from tests.cluster.environment import Environment
from tests.cluster.paths import ENVIRONMENT, STATE
from tests.cluster.provider import Provider, choose, kubectl
from tests.cluster.shell import ClusterError, say


def running() -> tuple[Provider, Environment] | None:
    """The cluster `.cluster/env` describes, if its API server answers, however slowly: else it is taken down."""
    environment = Environment.read()
    if environment is None:
        return None
    try:
        kubectl(environment, "get", "--raw", "/livez/ping", "--request-timeout=60s", seconds=90)
    except ClusterError:
        return None
    return choose(name=environment.provider), environment


def bring_up() -> tuple[Provider, Environment]:
    """Boot a cluster, or take the running one, and bring images and chart up to date with the work tree.

    The environment is written as soon as the cluster is usable, so a chart that fails leaves a cluster to look at.
    """
    present = running()
    provider = present[0] if present else choose()
    if not present:
        provider.prepare()
    inputs = images.digest_of_inputs()
    with ThreadPoolExecutor(max_workers=1) as pool:
        builder = provider.builder
        building = pool.submit(images.build, builder=builder) if builder else None
        if present:
            environment = present[1]
        else:
            environment = provider.up()
            environment.write()
        built = building.result() if building else []
    loaded = STATE / "loaded"
    changed = present is None or not loaded.exists() or loaded.read_text() != inputs
    if changed:
        provider.load(images=built)
        loaded.write_text(inputs)
    chart.install(provider=provider, environment=environment, restart=changed)
    say(f"the {provider.name} cluster is up: source .cluster/env")
    return provider, environment


def take_down() -> None:
    """Take down the cluster `.cluster/env` names, or what a crash has left of one."""
    environment = Environment.read()
    provider = choose(name=environment.provider if environment else None)
    ENVIRONMENT.unlink(missing_ok=True)
    provider.down()
    shutil.rmtree(STATE, ignore_errors=True)
    say(f"nothing of a {provider.name} cluster is left")
