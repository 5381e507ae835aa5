"""The operator's configuration: one YAML file, written by the chart, decoded strictly.

The model and store blocks are defaults for tasks that say nothing, and are taken whole or not at all: a task that names
its own endpoint must never be sent the chart's key, nor the other way round. A change takes effect when the operator
restarts; a running task keeps its place (`status.location`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
import yaml
from agenttask import contract

CONFIG_ENV: Final = "AGENTTASK_OPERATOR_CONFIG"
DEFAULT_PATH: Final = "/etc/agenttask-operator/config.yaml"


class _Block(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Base of every block: camelCase, and a misspelt key is an error rather than a default."""


class Runner(_Block, frozen=True, kw_only=True):
    """The image tasks run in unless they name their own."""

    image: str
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    image_pull_secrets: tuple[contract.SecretRef, ...] = ()


class Store(_Block, frozen=True, kw_only=True):
    """Where checkpoints go unless the task says so: exactly one place."""

    s3: contract.S3 | None = None
    redis: contract.Redis | None = None
    filesystem: contract.Filesystem | None = None

    def __post_init__(self) -> None:
        if sum(place is not None for place in (self.s3, self.redis, self.filesystem)) != 1:
            raise ValueError("exactly one of s3, redis and filesystem must be set")


class LeaderElection(_Block, frozen=True, kw_only=True):
    """One of several replicas works; the others hold warm watches. Off only for development."""

    enabled: bool = True
    lease_name: str = "agenttask-operator"


class ClientConnection(_Block, frozen=True, kw_only=True):
    """How fast the API server is asked, all workers together; leases and watches are not held back.

    The defaults leave the pace to the server, which says itself when it has had enough (429). Lower them where it is
    shared with more delicate company: a task needs some 25 requests from its creation to its end.
    """

    qps: Annotated[float, msgspec.Meta(gt=0)] = 500
    """Requests per second, on average."""
    burst: Annotated[int, msgspec.Meta(ge=1)] = 1000
    """Requests at once, after a rest."""


class Log(_Block, frozen=True, kw_only=True):
    """The operator's own log; runners have theirs."""

    format: Literal["json", "text"] = "json"
    """One JSON object a line, or a line for people without fields."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    """What is left out; transitions and the lines to charge for are `info`."""


class Settings(_Block, frozen=True, kw_only=True):
    """The whole file. Without `model` (or `store`) a task that names none stalls as SpecInvalid and says so."""

    runner: Runner
    model: contract.Model | None = None
    store: Store | None = None
    watch_namespaces: tuple[Annotated[str, msgspec.Meta(min_length=1)], ...] = ()
    """Where tasks are looked after; nothing is asked of any other namespace. Empty: everywhere."""
    leader_election: LeaderElection = LeaderElection()
    client_connection: ClientConnection = ClientConnection()
    log: Log = Log()
    workers: Annotated[int, msgspec.Meta(ge=1, le=256)] = 24
    """Tasks that are worked on at once. More than `clientConnection` and the server's pace can feed only wait."""
    resync_seconds: Annotated[int, msgspec.Meta(ge=10, le=3600)] = 60
    """How often all tasks are listed and looked at, give or take a fifth: how long a lost watch event can matter."""


class SettingsError(Exception):
    """The file is missing or does not decode; the message names file and field."""


def load(path: Path) -> Settings:
    """Read and check the file.

    Raises:
        SettingsError: it cannot be read, is not YAML, or has a missing, mistyped or unknown field.
    """
    try:
        return msgspec.convert(yaml.safe_load(path.read_text()), Settings)
    except (OSError, yaml.YAMLError, msgspec.ValidationError) as error:
        raise SettingsError(f"{path}: {error}") from error
