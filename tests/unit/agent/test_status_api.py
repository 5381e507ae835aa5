"""The one request the runner makes to the Kubernetes API, and what its answers mean."""

from __future__ import annotations

from pathlib import Path

import httpx
import msgspec
import pytest
from agenttask.agent.state import State
from agenttask.contract import RUNNER_FIELDS, encode_apply
from agenttask.report import render
from agenttask.status_api import Answer, KubernetesStatus

from tests.unit.agent.test_report import head

STATUS = render(state=State(started=True), head=head(1), max_steps=50, resumed_from=None)


@pytest.fixture
def token_dir(tmp_path: Path) -> Path:
    """What the kubelet projects. The CA is any certificate there is; nothing is connected to."""
    import certifi

    (tmp_path / "ca.crt").write_text(Path(certifi.where()).read_text())
    (tmp_path / "token").write_text("first\n")
    return tmp_path


class Server:
    """Answers with one status, and keeps the requests."""

    def __init__(self, status: int | Exception, body: object = None) -> None:
        self.requests: list[httpx.Request] = []
        self.status = status
        self.body = body

    def handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if isinstance(self.status, Exception):
            raise self.status
        return httpx.Response(self.status, json=self.body)

    def api(self, token_dir: Path) -> KubernetesStatus:
        return KubernetesStatus(
            server="https://10.0.0.1:6443",
            token_dir=token_dir,
            namespace="ns",
            name="task",
            transport=httpx.MockTransport(self.handle),
        )


async def test_it_applies_the_whole_of_its_part_to_the_task(token_dir: Path) -> None:
    server = Server(200)
    api = server.api(token_dir)
    assert await api.apply(STATUS) == (Answer.ACCEPTED, "")
    (request,) = server.requests
    assert (request.method, str(request.url)) == (
        "PATCH",
        "https://10.0.0.1:6443/apis/agenttask.dev/v1alpha1/namespaces/ns/agenttasks/task/status"
        "?fieldManager=agenttask-runner&force=true&fieldValidation=Ignore",
    )
    assert request.headers["content-type"] == "application/apply-patch+yaml; charset=utf-8"
    body = msgspec.json.decode(request.content)
    assert body["metadata"] == {"name": "task", "namespace": "ns"}
    assert set(body["status"]) <= set(RUNNER_FIELDS)
    await api.close()


async def test_the_token_is_read_anew_for_each_write(token_dir: Path) -> None:
    server = Server(200)
    api = server.api(token_dir)
    await api.apply(STATUS)
    (token_dir / "token").write_text("second")
    await api.apply(STATUS)
    assert [request.headers["authorization"] for request in server.requests] == ["Bearer first", "Bearer second"]
    await api.close()


@pytest.mark.parametrize(
    ("status", "want"),
    [
        (201, Answer.ACCEPTED),
        (401, Answer.GONE),
        (404, Answer.GONE),
        (403, Answer.REFUSED),
        (409, Answer.REFUSED),
        (422, Answer.REFUSED),
        (429, Answer.UNREACHABLE),
        (503, Answer.UNREACHABLE),
    ],
)
async def test_meaning(token_dir: Path, status: int, want: Answer) -> None:
    api = Server(status, {"kind": "Status", "message": "not this pod"}).api(token_dir)
    answer, words = await api.apply(STATUS)
    assert answer is want
    assert want is Answer.ACCEPTED or words == f"HTTP {status}: not this pod"
    await api.close()


async def test_no_answer_is_unreachable_and_so_is_no_token(token_dir: Path) -> None:
    answer, words = await Server(httpx.ConnectError("refused")).api(token_dir).apply(STATUS)
    assert (answer, words) == (Answer.UNREACHABLE, "ConnectError: refused")
    (token_dir / "token").unlink()
    answer, _ = await Server(200).api(token_dir).apply(STATUS)
    assert answer is Answer.UNREACHABLE


def test_an_apply_escapes_what_yaml_would_not_read_as_json_does_and_nothing_else() -> None:
    awkward = 'a"\n\0\x7f\x85\x93\u2028\ufeff\uffff é 😀'
    encoded = encode_apply({"a": awkward})
    assert msgspec.json.decode(encoded) == {"a": awkward}
    assert encoded == rb'{"a":"a\"\n\u0000\u007f\u0085\u0093\u2028\ufeff\uffff ' + 'é 😀"}'.encode()
