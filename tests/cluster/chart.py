"""The project's chart on a test cluster: installed under fixed names, and brought up to date after a change of code."""

from __future__ import annotations

from typing import Final

from tests.cluster.binaries import program
from tests.cluster.environment import Environment
from tests.cluster.images import LOCAL
from tests.cluster.paths import ROOT
from tests.cluster.provider import Provider, kubectl
from tests.cluster.shell import ClusterError, run, say

RELEASE: Final = "agenttask"
STORE_SECRET: Final = "agenttask-s3"
"""Name of the Secret with the store's keys that every namespace with tasks has to have."""
_CHART: Final = ROOT / "charts" / "agenttask"


def install(*, provider: Provider, environment: Environment, restart: bool) -> None:
    """Install the chart, or upgrade it and, if asked, restart the operator; returns once the operator is rolled out.

    Values that others set on the release since (the model default, for one) are kept.
    """
    namespace = environment.operator_namespace
    before = _installed(environment)
    say("upgrading the chart" if before else "installing the chart")
    _helm(
        environment,
        "upgrade",
        "--install",
        RELEASE,
        str(_CHART),
        "--namespace",
        namespace,
        "--create-namespace",
        "--reset-then-reuse-values",
        # What somebody scaled or edited by hand goes back to what the values say.
        "--force-conflicts",
        *provider.chart_values(environment=environment),
    )
    operator = f"deployment/{RELEASE}-operator"
    if before and restart:
        # The tag of a local image never changes, so nothing else tells the operator that its image did.
        kubectl(environment, "-n", namespace, "rollout", "restart", operator)
    try:
        kubectl(environment, "-n", namespace, "rollout", "status", operator, "--timeout=300s", seconds=310)
    except ClusterError as error:
        selector = ("-l", "app.kubernetes.io/component=operator")
        pods = kubectl(environment, "-n", namespace, "get", "pods", "-o", "wide", *selector)
        logs = kubectl(environment, "-n", namespace, "logs", "--tail=20", "--prefix", *selector)
        raise ClusterError(f"the operator does not become ready: {error}\n{pods}\n{logs}") from error


def uninstall(*, environment: Environment) -> None:
    """Remove the release; the CRD stays, as the chart promises."""
    if _installed(environment):
        _helm(environment, "uninstall", RELEASE, "--namespace", environment.operator_namespace, "--wait")


def image_values(*, images: dict[str, str], pull_policy: str) -> list[str]:
    """Words for helm that name the images: Dockerfile target to image name with tag."""
    words = []
    for target, image in images.items():
        repository, _, tag = image.rpartition(":")
        block = f"image.{_BLOCKS[target]}"
        words += ["--set", f"{block}.repository={repository}", "--set-string", f"{block}.tag={tag}"]
        words += ["--set", f"{block}.pullPolicy={pull_policy}"]
    return words


def local_image_values(*targets: str) -> list[str]:
    """Words for helm that name locally built images, which are never pulled."""
    return image_values(images={target: LOCAL[target] for target in targets}, pull_policy="IfNotPresent")


def store_values(*, environment: Environment) -> list[str]:
    """Words for helm that make the cluster's S3 server the default store."""
    return [
        "--set",
        f"store.s3.bucket={environment.s3_bucket}",
        "--set",
        f"store.s3.endpoint={environment.s3_endpoint}",
        "--set",
        f"store.s3.region={environment.s3_region}",
        "--set",
        f"store.s3.credentialsSecretRef.name={STORE_SECRET}",
    ]


_BLOCKS = {"operator": "operator", "runner": "runner", "devstore": "devStore"}


def _installed(environment: Environment) -> bool:
    found = _helm(environment, "list", "--namespace", environment.operator_namespace, "--short")
    return RELEASE in found.split()


def _helm(environment: Environment, *words: str) -> str:
    found = program("helm") if program("helm").exists() else "helm"
    return run(found, "--kubeconfig", environment.kubeconfig, *words, timeout_seconds=600)
