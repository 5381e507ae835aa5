"""`.cluster/env`: all that a shell, a test or another program has to know about the running cluster."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.paths import ENVIRONMENT


@dataclass(frozen=True, kw_only=True)
class Environment:
    """The running cluster. Each field is written as the environment variable named in `_VARIABLES`."""

    provider: str
    """native, kind or current."""
    kubeconfig: Path
    path: str
    """Folders with kubectl and helm, colon-separated, to be put before PATH."""
    host_address: str
    """The address at which pods reach servers of this machine; empty where there is none."""
    s3_endpoint: str
    """The S3 server as pods reach it."""
    s3_host_endpoint: str
    """The S3 server as this machine reaches it: the same one on native."""
    s3_bucket: str
    s3_region: str
    s3_access_key_id: str
    s3_secret_access_key: str
    operator_namespace: str

    def variables(self) -> dict[str, str]:
        """The environment variables, PATH not among them."""
        return {name: str(getattr(self, field)) for field, name in _VARIABLES.items()}

    def render(self) -> str:
        """The text of the file."""
        lines = [f"export {name}={shlex.quote(value)}" for name, value in self.variables().items()]
        return "\n".join([*lines, f'export PATH={shlex.quote(self.path)}:"$PATH"', ""])

    @classmethod
    def parse(cls, text: str) -> Environment:
        """What `render` has written."""
        found: dict[str, str] = {}
        for line in text.splitlines():
            name, _, value = line.removeprefix("export ").partition("=")
            found[name] = "".join(shlex.split(value))
        fields = {field: found.get(name, "") for field, name in _VARIABLES.items()}
        kubeconfig = Path(fields.pop("kubeconfig"))
        return cls(kubeconfig=kubeconfig, path=found["PATH"].removesuffix(":$PATH"), **fields)

    def write(self) -> None:
        """Write the file whole or not at all: others wait for it."""
        ENVIRONMENT.parent.mkdir(parents=True, exist_ok=True)
        fresh = ENVIRONMENT.with_suffix(".new")
        fresh.touch(mode=0o600)
        fresh.write_text(self.render())
        fresh.replace(ENVIRONMENT)

    @classmethod
    def read(cls) -> Environment | None:
        """The environment of the running cluster, or None if none is up."""
        return cls.parse(ENVIRONMENT.read_text()) if ENVIRONMENT.exists() else None


_VARIABLES = {
    "provider": "AGENTTASK_CLUSTER",
    "kubeconfig": "KUBECONFIG",
    "host_address": "AGENTTASK_HOST_ADDRESS",
    "s3_endpoint": "AGENTTASK_S3_ENDPOINT",
    "s3_host_endpoint": "AGENTTASK_S3_HOST_ENDPOINT",
    "s3_bucket": "AGENTTASK_S3_BUCKET",
    "s3_region": "AWS_REGION",
    "s3_access_key_id": "AWS_ACCESS_KEY_ID",
    "s3_secret_access_key": "AWS_SECRET_ACCESS_KEY",
    "operator_namespace": "AGENTTASK_OPERATOR_NAMESPACE",
}
