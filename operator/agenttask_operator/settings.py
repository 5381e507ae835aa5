"""The operator's configuration: one YAML file, written by the chart, decoded strictly.

The model and store blocks are defaults for tasks that say nothing, and are taken whole or not at all: a task that names
its own endpoint must never be sent the chart's key, nor the other way round. A change takes effect when the operator
restarts; a running task keeps its place (`status.location`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

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


class Settings(_Block, frozen=True, kw_only=True):
    """The whole file. Without `model` (or `store`) a task that names none stalls as SpecInvalid and says so."""

    runner: Runner
    model: contract.Model | None = None
    store: Store | None = None
    leader_election: LeaderElection = LeaderElection()


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
