"""The endpoints a model and its fallbacks stand at, and where the runner finds what belongs to each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from agenttask.contract.spec import ConfigMapKeyRef, Fallback, Model, SecretKeyRef

ENV_MODEL_API_KEY: Final = "AGENTTASK_MODEL_API_KEY"
"""The main endpoint's key; that of the n-th fallback, if it has an endpoint of its own, is in `…_n`, from 1."""
ENV_MODEL_CA: Final = "AGENTTASK_MODEL_CA"
"""The certificates that vouch for the main endpoint, PEM, instead of the image's; for fallbacks likewise."""


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """An address and all that is sent there and nowhere else."""

    number: int
    """0: the main one; n: that of the n-th fallback."""
    base_url: str
    api_key_secret_ref: SecretKeyRef | None
    ca_config_map_ref: ConfigMapKeyRef | None
    headers: dict[str, str]

    @property
    def key_env(self) -> str:
        """The variable with its key."""
        return _numbered(ENV_MODEL_API_KEY, self.number)

    @property
    def ca_env(self) -> str:
        """The variable with its certificates."""
        return _numbered(ENV_MODEL_CA, self.number)


def endpoints_of(model: Model) -> tuple[Endpoint, ...]:
    """The main endpoint, and those of the fallbacks that have their own."""
    chain: tuple[Model | Fallback, ...] = (model, *model.fallbacks)
    return tuple(
        Endpoint(
            number=number,
            base_url=one.base_url,
            api_key_secret_ref=one.api_key_secret_ref,
            ca_config_map_ref=one.ca_config_map_ref,
            headers=one.headers,
        )
        for number, one in enumerate(chain)
        if one.base_url is not None
    )


def _numbered(name: str, number: int) -> str:
    return f"{name}_{number}" if number else name
