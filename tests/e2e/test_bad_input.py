"""Whatever is wrong around a task is said in its condition and reason, does not loop, and heals when it is put right.

The cases run side by side, each in a namespace of its own, since they wait more than they work; each test reports one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise

import pytest

from tests.cluster.environment import Environment
from tests.e2e.conftest import furnish
from tests.e2e.harness.forwarder import Forwarder
from tests.e2e.harness.kube import Api, Kind, Object
from tests.e2e.harness.model import Reply, ScriptedModel, refuses, says
from tests.e2e.harness.tasks import STORE_SECRET, Task, condition, manifest, model_of
from tests.e2e.harness.wait import until
from tests.e2e.harness.witness import Bucket

ANSWER = "All is well."


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where one case happens, and what it can be put right with."""

    api: Api
    environment: Environment
    model: ScriptedModel
    bucket: Bucket
    s3: Forwarder
    namespace: str

    def s3_place(self, **changes: object) -> Object:
        """`spec.checkpoint` that names the test's own store, but for `changes`."""
        place = {
            "bucket": self.environment.s3_bucket,
            "prefix": self.namespace,
            "endpoint": self.environment.s3_endpoint,
            "region": self.environment.s3_region,
            "credentialsSecretRef": {"name": STORE_SECRET},
        }
        return {"s3": {**place, **changes}}

    def secret(self, name: str, data: Mapping[str, str]) -> None:
        """Make or change a Secret."""
        body: Object = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": dict(data)}
        self.api.apply(Kind.SECRET, body, namespace=self.namespace)


def nothing(place: Place) -> Object:
    """No preparation: the spec needs no change either."""
    return {}


def forget(place: Place, task: Task) -> None:
    """Put nothing right."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is wrong, how it must look, and how it is put right."""

    reason: str
    prepare: Callable[[Place], Object] = nothing
    """Makes the trouble; returns what is laid over the task's spec."""
    heal: Callable[[Place, Task], None]
    replies: tuple[Reply, ...] = (says(ANSWER),)
    stalled: bool = True
    """Whether it needs someone (Stalled), or may pass by itself (Pending)."""
    message: str = ""
    """What the server's own message holds."""
    agent: Object = field(default_factory=dict)
    """What is laid over `spec.agent`."""
    endpoint: Object = field(default_factory=dict)
    """What is laid over `spec.agent.model`."""


def _missing_secret(place: Place, task: Task) -> None:
    place.secret("not-yet", {"api-key": "sk-now"})


def _no_such_bucket(place: Place) -> Object:
    return {"checkpoint": place.s3_place(bucket=place.namespace)}


def _make_bucket(place: Place, task: Task) -> None:
    place.bucket.ensure(place.namespace)


def _wrong_key(place: Place) -> Object:
    key_id = place.environment.s3_access_key_id
    place.secret("wrong", {"AWS_ACCESS_KEY_ID": key_id, "AWS_SECRET_ACCESS_KEY": "not-it"})
    return {"checkpoint": place.s3_place(credentialsSecretRef={"name": "wrong"})}


def _right_key(place: Place, task: Task) -> None:
    task.patch_spec(checkpoint={"s3": {"credentialsSecretRef": {"name": STORE_SECRET}}})


def _unreachable(place: Place) -> Object:
    return {"checkpoint": place.s3_place(endpoint=place.s3.url)}


def _reachable(place: Place, task: Task) -> None:
    place.s3.open()


def _model_takes_the_key(place: Place, task: Task) -> None:
    place.model.script(task.model, [says(ANSWER)])


def _no_pods_allowed(place: Place) -> Object:
    quota = {"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
    place.api.create(Kind.QUOTA, quota, namespace=place.namespace)

    def counted() -> bool:
        made = place.api.get(Kind.QUOTA, "none", namespace=place.namespace)
        return bool(made and made.get("status", {}).get("hard"))

    until(counted, what="the quota is in force")
    return {}


def _pods_allowed(place: Place, task: Task) -> None:
    place.api.delete(Kind.QUOTA, "none", namespace=place.namespace)


def _missing_volume_secret(place: Place, task: Task) -> None:
    place.secret("not-mounted", {"file": "x"})


def _pod(place: Place, **pod: object) -> Object:
    return {"pod": pod}


def _no_pod(place: Place, task: Task) -> None:
    task.patch_spec(pod=None)


def _shorter(place: Place, task: Task) -> None:
    task.patch_spec(agent={"systemPrompt": None})


# Each character takes three bytes, so that what the schema allows is more than a pod can carry.
TOO_MUCH = "\N{EURO SIGN}" * 65536

CASES = {
    "the spec is larger than a pod can carry": Case(
        reason="SpecInvalid",
        prepare=lambda place: {"prompt": TOO_MUCH[:4096]},
        agent={"systemPrompt": TOO_MUCH},
        message="the most that fits",
        heal=_shorter,
    ),
    "the model's Secret is missing": Case(
        reason="SecretMissing",
        endpoint={"apiKeySecretRef": {"name": "not-yet", "key": "api-key"}},
        message='secret "not-yet" not found',
        heal=_missing_secret,
    ),
    "a Secret that is a volume of the pod is missing": Case(
        reason="SecretMissing",
        prepare=partial(
            _pod,
            volumes=[{"name": "files", "secret": {"secretName": "not-mounted"}}],
            volumeMounts=[{"name": "files", "mountPath": "/files"}],
        ),
        message='secret "not-mounted" not found',
        heal=_missing_volume_secret,
    ),
    "the image cannot be had": Case(
        reason="ImageUnavailable",
        prepare=partial(_pod, image="localhost/no-such-image:1"),
        message="localhost/no-such-image:1",
        heal=_no_pod,
    ),
    "the bucket does not exist": Case(reason="StoreNotFound", prepare=_no_such_bucket, heal=_make_bucket),
    "the store refuses the key": Case(reason="StoreDenied", prepare=_wrong_key, heal=_right_key),
    "the store does not answer": Case(reason="StoreUnavailable", prepare=_unreachable, heal=_reachable),
    "the model refuses the key": Case(
        reason="ModelDenied",
        replies=(refuses(401, "Incorrect API key provided"),),
        message="Incorrect API key provided",
        heal=_model_takes_the_key,
    ),
    "a quota allows no pod": Case(
        reason="PodRefused", prepare=_no_pods_allowed, heal=_pods_allowed, message="exceeded quota"
    ),
    "Pod Security refuses the pod": Case(
        reason="PodRefused",
        prepare=partial(_pod, securityContext={"runAsNonRoot": False, "runAsUser": 0}),
        message="violates PodSecurity",
        heal=_no_pod,
    ),
    "no node fits": Case(
        reason="Unschedulable",
        prepare=partial(_pod, nodeSelector={"agenttask.dev/no-such": "node"}),
        message="node(s) didn't match",
        heal=_no_pod,
        stalled=False,
    ),
}


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a case came to."""

    troubled: Object
    """The status once it said what is wrong."""
    attempts_before_healing: int
    healed: Object
    """The status at the end."""


def play(case: Case, place: Place, *, name: str) -> Seen:
    """Make the trouble, wait for it to be said, put it right, wait for the end."""
    spec = case.prepare(place)
    model_name = model_of(namespace=place.namespace, name=name)
    place.model.script(model_name, case.replies)
    body = manifest(name=name, model=place.model, model_name=model_name, spec=spec, agent=case.agent)
    body["spec"]["agent"]["model"].update(case.endpoint)
    task = Task.create(api=place.api, namespace=place.namespace, body=body)
    if case.stalled:
        troubled = task.wait_stalled(case.reason)
    else:
        troubled = task.wait(what=f"is {case.reason}", reason=case.reason)
    attempts = int(task.status().get("attempt", 0))
    case.heal(place, task)
    return Seen(troubled=troubled, attempts_before_healing=attempts, healed=task.wait_finished())


@pytest.fixture(scope="module")
def played(
    api: Api, environment: Environment, model: ScriptedModel, bucket: Bucket
) -> Iterator[Mapping[str, Future[Seen]]]:
    """All cases, under way side by side."""
    s3 = Forwarder(address=environment.host_address, target=environment.s3_host_endpoint)
    names = {sentence: f"bad-input-{number}" for number, sentence in enumerate(CASES)}
    places = {}
    for sentence, name in names.items():
        meta = api.create(Kind.NAMESPACE, {"metadata": {"generateName": f"{name}-"}})["metadata"]
        furnish(api=api, environment=environment, namespace=meta["name"])
        # What one thread closes as idle another one may just have been given: each has a session of its own.
        own = Api(kubeconfig=environment.kubeconfig)
        places[sentence] = Place(
            api=own, environment=environment, model=model, bucket=bucket, s3=s3, namespace=meta["name"]
        )
    with ThreadPoolExecutor(max_workers=len(CASES)) as threads:
        yield {
            sentence: threads.submit(play, case, places[sentence], name=names[sentence])
            for sentence, case in CASES.items()
        }
    for place in places.values():
        place.api.delete(Kind.NAMESPACE, place.namespace)
        place.api.close()
    s3.close()


@pytest.mark.needs_nodes  # it needs namespaces of its own, which a cluster of somebody's does not give
@pytest.mark.parametrize("sentence", CASES)
def test_trouble_is_named_does_not_loop_and_heals_when(sentence: str, played: Mapping[str, Future[Seen]]) -> None:
    case = CASES[sentence]
    seen = played[sentence].result(timeout=600)

    assert seen.troubled["reason"] == case.reason
    assert case.message in seen.troubled["message"]
    assert seen.troubled["phase"] in ("Pending", "Checkpointed")
    assert seen.attempts_before_healing <= 3, "no crash loop"
    assert (seen.healed["phase"], seen.healed["result"]["answer"]) == ("Completed", ANSWER)
    assert seen.healed["counts"]["failures"] == 0, "fixable trouble is no failure"
    stalled = condition({"status": seen.healed}, "Stalled")
    assert stalled is None or stalled["status"] == "False"


def test_a_runner_that_always_crashes_before_its_first_step_fails_with_its_last_words_after_backing_off(
    api: Api, home: str, model: ScriptedModel
) -> None:
    # A Python that cannot find its library dies before it runs a line, and says why.
    spec = {
        "pod": {"env": [{"name": "PYTHONHOME", "value": "/nowhere"}]},
        "retry": {"maxFailures": 2, "maxBackoffSeconds": 5},
    }
    body = manifest(name="crasher", model=model, model_name="never-asked", spec=spec)
    task = Task.create(api=api, namespace=home, body=body)

    status = task.wait_finished()

    assert (status["phase"], status["reason"]) == ("Failed", "RetriesExhausted")
    assert "Fatal Python error" in status["message"], "the last log lines"
    assert status["counts"]["failures"] == 3
    attempts = status["attempts"]
    assert [attempt["attempt"] for attempt in attempts] == [1, 2, 3]
    assert all(later["start"] > earlier["end"] for earlier, later in pairwise(attempts))
    found = condition({"status": status}, "Failed")
    assert found is not None
    assert found["reason"] == status["reason"]
