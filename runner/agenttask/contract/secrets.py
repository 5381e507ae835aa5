"""Which Secrets the parts of a task ask for, and the variables in which a runner finds them."""

from __future__ import annotations

import re
from typing import Final

from agenttask.contract.names import (
    REDIS_OPTIONAL_SECRET_KEYS,
    REDIS_SECRET_KEYS,
    S3_OPTIONAL_SECRET_KEYS,
    S3_SECRET_KEYS,
)
from agenttask.contract.spec import Agent, SecretKeyRef

RUNNER_ONLY: Final = (*S3_SECRET_KEYS, *S3_OPTIONAL_SECRET_KEYS, *REDIS_SECRET_KEYS, *REDIS_OPTIONAL_SECRET_KEYS)
"""Variables that no tool gets to see; nor any of the runner's own, which begin with AGENTTASK_."""


def secret_variable(ref: SecretKeyRef) -> str:
    """The environment variable that holds this key of a Secret; a shell can set it too, for a local run."""
    return re.sub("[^A-Z0-9]", "_", f"AGENTTASK_SECRET_{ref.name}_{ref.key}".upper())


def secrets_of(agent: Agent) -> dict[str, SecretKeyRef]:
    """What headers need, by variable. Raises `ValueError` if one variable would have to hold two values."""
    means = [each for tool in agent.tools for each in (tool.http, tool.probe.http if tool.probe else None) if each]
    headers = [*(each.headers for each in means), *(server.headers for server in agent.mcp_servers)]
    found: dict[str, SecretKeyRef] = {}
    for ref in (header.secret_key_ref for each in headers for header in each):
        if ref is not None and found.setdefault(secret_variable(ref), ref) != ref:
            other = found[secret_variable(ref)]
            raise ValueError(
                f"the keys {other.key} of Secret {other.name} and {ref.key} of Secret {ref.name} are too much alike: "
                f"both would be the variable {secret_variable(ref)}"
            )
    return found
