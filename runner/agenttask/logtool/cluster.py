"""Where the log of a cluster's task lies, asked by the user's own kubectl: with the user's rights, and no others.

The place comes from the task's status; the keys from the Secret, and the certificates from the ConfigMap, that its
next attempt would be given.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from agenttask import places
from agenttask.contract import (
    ENV_STORE_CA,
    GROUP,
    PLURAL,
    REDIS_OPTIONAL_SECRET_KEYS,
    REDIS_SECRET_KEYS,
    S3_OPTIONAL_SECRET_KEYS,
    S3_SECRET_KEYS,
    STORE_DIR,
    Location,
    TaskSpec,
    log_prefix,
)
from agenttask.errors import Denied, Misconfigured, NotFound, SpecInvalid, Unavailable
from agenttask.logtool.place import Checkpoint, Known, Place

ANSWER_SECONDS: Final = 20
_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
_REFUSED: Final = ("(Forbidden)", "(Unauthorized)", "must be logged in")
_SILENT: Final = (
    "Unable to connect",
    "was refused",
    "(ServiceUnavailable)",
    "(InternalError)",
    "(Timeout)",
    "(TooManyRequests)",
    "i/o timeout",
    "deadline exceeded",
    "no such host",
)

Run = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]
"""Runs a program to its end, with its output. Raises OSError and subprocess.TimeoutExpired."""


def run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a program of this machine."""
    return subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_SECONDS + 10, check=False)


class Kubectl:
    """Reads objects of one namespace."""

    def __init__(self, *, namespace: str, context: str | None, run: Run) -> None:
        self._options = [f"--namespace={namespace}", f"--request-timeout={ANSWER_SECONDS}s", "--output=json"]
        self._options += [f"--context={context}"] if context else []
        self._run = run

    def get(self, kind: str, name: str) -> dict[str, Any]:
        """One object. `NotFound`, `Denied`, `Unavailable`, or `Misconfigured` with kubectl's own words."""
        try:
            done = self._run(["kubectl", "get", kind, name, *self._options])
        except FileNotFoundError as error:
            raise Misconfigured("kubectl is not installed; name the log by its STORE-URL instead") from error
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Unavailable(f"kubectl did not answer: {error}") from error
        if done.returncode == 0:
            return dict(json.loads(done.stdout))
        words = f"kubectl get {kind} {name}: {done.stderr.strip()}"
        if "(NotFound)" in words:
            raise NotFound(words)
        if any(each in words for each in _REFUSED):
            raise Denied(words)
        if any(each in words for each in _SILENT):
            raise Unavailable(words)
        raise Misconfigured(words)


def of_task(*, kubectl: Kubectl, namespace: str, name: str, environment: Mapping[str, str]) -> Place:
    """The place of a task's log. Raises what `Kubectl.get` raises, and `SpecInvalid`."""
    if not _NAME.fullmatch(name) or not _NAME.fullmatch(namespace):
        raise SpecInvalid(f"{namespace}/{name} names no task")
    task = kubectl.get(f"{PLURAL}.{GROUP}", name)
    location, known = _decoded(task, name=name)
    path = log_prefix(prefix=location.prefix, namespace=namespace, name=name, uid=task["metadata"]["uid"])
    if location.type == "filesystem":
        raise Misconfigured(_elsewhere(location, path=path, task=f"{namespace}/{name}"))
    # This machine's keys are for its own AWS account at most, which a place without a Secret means; never for others.
    ours = location.type == "s3" and location.credentials_secret is None
    opened = dict(environment) if ours else _without_keys(environment)
    opened |= {**_secrets(location, kubectl=kubectl), **_certificates(location, kubectl=kubectl)}
    return Place(location=location, path=path, environment=opened, task=known)


def _decoded(task: Mapping[str, Any], *, name: str) -> tuple[Location, Known]:
    status = task.get("status") or {}
    if not status.get("location"):
        raise NotFound(f"{name} has no log yet: no attempt of it has begun")
    try:
        spec = msgspec.convert(task["spec"], TaskSpec)
        recorded = msgspec.convert(status["location"], Location)
        checkpoint = msgspec.convert(status.get("checkpoint"), Checkpoint | None)
    except msgspec.ValidationError as error:
        raise SpecInvalid(f"{name} is no task this version can read: {error}") from error
    location = places.resolve(own=spec.checkpoint, default=None, recorded=recorded) or recorded
    return location, Known(keep_last=spec.checkpoint.keep_last, checkpoint=checkpoint)


def _elsewhere(location: Location, *, path: str, task: str) -> str:
    folder = "/".join(part for part in (STORE_DIR, location.path or "", path) if part)
    return (
        f"the log of {task} lies on the volume of the claim {location.claim_name}, which is not on this machine. "
        f"Where it is mounted, as in a runner's pod (kubectl exec), say: agenttask log … {folder}"
    )


def _without_keys(environment: Mapping[str, str]) -> dict[str, str]:
    """This machine's environment less the keys in it: they are someone else's."""
    names = {*S3_SECRET_KEYS, *S3_OPTIONAL_SECRET_KEYS, *REDIS_SECRET_KEYS, *REDIS_OPTIONAL_SECRET_KEYS}
    return {name: value for name, value in environment.items() if name not in names}


def _secrets(location: Location, *, kubectl: Kubectl) -> dict[str, str]:
    if location.credentials_secret is None:
        return {}
    redis = location.type == "redis"
    needed = REDIS_SECRET_KEYS if redis else S3_SECRET_KEYS
    optional = REDIS_OPTIONAL_SECRET_KEYS if redis else S3_OPTIONAL_SECRET_KEYS
    data = kubectl.get("secret", location.credentials_secret).get("data") or {}
    if missing := [key for key in needed if key not in data]:
        raise Misconfigured(f"the Secret {location.credentials_secret} has no {', '.join(missing)}")
    try:
        return {key: base64.b64decode(data[key]).decode() for key in (*needed, *optional) if key in data}
    except (binascii.Error, UnicodeDecodeError):
        raise Misconfigured(f"the Secret {location.credentials_secret} holds no text") from None


def _certificates(location: Location, *, kubectl: Kubectl) -> dict[str, str]:
    if (ca := location.ca_config_map) is None:
        return {}
    data = kubectl.get("configmap", ca.name).get("data") or {}
    if ca.key not in data:
        raise Misconfigured(f"the ConfigMap {ca.name} has no {ca.key}")
    return {ENV_STORE_CA: data[ca.key]}
