"""Which cluster the tests run on, and how a shell and a test learn of it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest

from tests.cluster.environment import Environment
from tests.cluster.provider import NoClusterError, Provider, pick
from tests.cluster.shell import ClusterError


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """As much of a provider as is looked at while choosing."""

    name: str
    reason: str | None

    def unavailable(self) -> str | None:
        return self.reason


def candidates(**reasons: str | None) -> tuple[Provider, ...]:
    return tuple(cast("Provider", Candidate(name=name, reason=reason)) for name, reason in reasons.items())


CHOSEN: dict[str, tuple[dict[str, str | None], str | None, str]] = {
    "kind comes first where an engine runs": ({"kind": None, "native": None, "current": None}, None, "kind"),
    "native without an engine": ({"kind": "no engine", "native": None, "current": None}, None, "native"),
    "a wish goes before what is possible": ({"kind": None, "native": None, "current": None}, "native", "native"),
    "current when asked for": ({"kind": None, "native": None, "current": None}, "current", "current"),
}


@pytest.mark.parametrize("case", CHOSEN)
def test_chosen(case: str) -> None:
    reasons, wanted, want = CHOSEN[case]
    assert pick(candidates(**reasons), wanted=wanted).name == want


def test_without_any_cluster_the_three_choices_are_named_and_current_is_not_taken() -> None:
    with pytest.raises(NoClusterError) as refused:
        pick(candidates(kind="no engine", native="not root", current=None), wanted=None)
    text = str(refused.value)
    assert [name for name in ("kind", "native", "current") if f"AGENTTASK_CLUSTER={name}" in text] == [
        "kind",
        "native",
        "current",
    ]
    assert "no engine" in text
    assert "not root" in text


REFUSED = {"a name that is none": ("minikube", "it can be kind"), "one that is not possible": ("kind", "no engine")}


@pytest.mark.parametrize("case", REFUSED)
def test_a_wish_that_cannot_be_met_is_refused(case: str) -> None:
    wanted, want = REFUSED[case]
    with pytest.raises(ClusterError, match=want):
        pick(candidates(kind="no engine", native=None), wanted=wanted)


def test_the_environment_survives_its_file_and_a_shell() -> None:
    environment = Environment(
        provider="native",
        kubeconfig=Path("/a path/with 'quotes'/kubeconfig"),
        path="/a path/bin:/other",
        host_address="10.250.0.1",
        s3_endpoint="http://10.250.0.1:7070",
        s3_host_endpoint="http://127.0.0.1:1",
        s3_bucket="bucket",
        s3_region="us-east-1",
        s3_access_key_id="id",
        s3_secret_access_key="a$b c'd",
        operator_namespace="agenttask-system",
    )
    text = environment.render()
    assert Environment.parse(text) == environment
    assert shlex.split(text.splitlines()[1]) == ["export", "KUBECONFIG=/a path/with 'quotes'/kubeconfig"]
