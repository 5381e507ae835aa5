"""An image that cannot be pulled: what a real kubelet says of it over minutes, and how often the status is written."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from agenttask_operator.decide import decide
from agenttask_operator.observed import Status

from tests.unit.operator.builders import NOW, pod, snapshot, task
from tests.unit.operator.decisions import FIRST


def timed_out(port: int) -> str:
    return (
        'failed to pull and unpack image "no-such-host.invalid/x:1": failed to do request: Head '
        '"https://no-such-host.invalid/v2/x/manifests/1": dial tcp: lookup no-such-host.invalid on 10.255.255.53:53: '
        f"read udp 10.250.0.11:{port}->10.255.255.53:53: i/o timeout"
    )


def error(message: str) -> dict[str, Any]:
    return {"waiting": {"reason": "ErrImagePull", "message": message}}


def back_off(message: str) -> dict[str, Any]:
    told = f'Back-off pulling image "no-such-host.invalid/x:1": ErrImagePull: {message}'
    return {"waiting": {"reason": "ImagePullBackOff", "message": told}}


OLD_BACK_OFF = {"waiting": {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "x:1"'}}
SAID: dict[str, tuple[list[dict[str, Any]], list[str]]] = {
    "the same error, and its back-off": (
        [error("refused"), back_off("refused"), error("refused"), back_off("refused")],
        ["refused"],
    ),
    "met in its back-off": ([back_off("refused"), error("refused")], ["refused"]),
    "an error of the network, from another port each time": (
        [error(timed_out(37800)), back_off(timed_out(37800)), error(timed_out(51891)), back_off(timed_out(51039))],
        [timed_out(37800)],
    ),
    "another error": (
        [error(timed_out(37800)), back_off(timed_out(37800)), error("not found"), back_off("not found")],
        [timed_out(37800), "not found"],
    ),
    "a kubelet whose back-off quotes nothing": (
        [OLD_BACK_OFF, error("refused"), OLD_BACK_OFF, error("refused")],
        ['Back-off pulling image "x:1"', "refused"],
    ),
}


@pytest.mark.parametrize(("said", "want"), SAID.values(), ids=SAID.keys())
def test_the_status_is_written_once_for_each_error_and_not_for_each_try(
    said: list[dict[str, Any]], want: list[str]
) -> None:
    current: Status = FIRST
    written: list[str] = []
    for state in said:
        given = snapshot(task(status=current), pod(phase="Pending", state=state))
        made = decide(snapshot=msgspec.structs.replace(given), now=NOW)
        if made.status is not None:
            current = made.status
            written.append(current.message)
    assert written == want
