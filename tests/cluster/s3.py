"""The S3 server of a native cluster: versitygw on this machine, at the address pods reach too."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from tests.cluster import network, processes
from tests.cluster.binaries import program
from tests.cluster.shell import ClusterError, tail, wait_until

PORT: Final = 7070
BUCKET: Final = "agenttask"
REGION: Final = "us-east-1"


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """The keys of the server's one account, made up for each cluster."""

    access_key_id: str
    secret_access_key: str

    @classmethod
    def create(cls) -> Credentials:
        """New random keys."""
        return cls(access_key_id=f"test{secrets.token_hex(8)}", secret_access_key=secrets.token_hex(20))


@dataclass(frozen=True, kw_only=True)
class S3Server:
    """Starts and stops versitygw. Its objects are files below `folder`, so they outlive a stop."""

    owner: Path
    credentials: Credentials
    role: str = "versitygw"

    @property
    def endpoint(self) -> str:
        return f"http://{network.HOST}:{PORT}"

    @property
    def folder(self) -> Path:
        return self.owner / "s3"

    def start(self) -> None:
        """Start the server and wait until it answers; the bucket `BUCKET` exists then."""
        for name in ("objects", "sidecar"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        # A bucket of the posix backend is a folder.
        (self.folder / "objects" / BUCKET).mkdir(exist_ok=True)
        keys = self.folder / "credentials.json"
        keys.touch(mode=0o600)
        keys.write_text(
            json.dumps({"id": self.credentials.access_key_id, "secret": self.credentials.secret_access_key})
        )
        log = self.owner / f"{self.role}.log"
        pid = processes.start(
            [
                "env",
                f"ROOT_ACCESS_KEY={self.credentials.access_key_id}",
                f"ROOT_SECRET_KEY={self.credentials.secret_access_key}",
                program("versitygw"),
                "--port",
                f"{network.HOST}:{PORT}",
                "--health",
                "/healthz",
                "--region",
                REGION,
                "--quiet",
                # Beside the objects, since not every filesystem has extended attributes.
                "posix",
                "--sidecar",
                self.folder / "sidecar",
                self.folder / "objects",
            ],
            owner=self.owner,
            role=self.role,
            log=log,
        )
        wait_until("S3 server answers", lambda: self._answers(pid))

    def stop(self) -> None:
        """End the server at once."""
        processes.end([process.pid for process in processes.owned(owner=self.owner, role=self.role)])

    def _answers(self, pid: int) -> bool:
        if not processes.alive(pid):
            raise ClusterError(f"the S3 server ended:\n{tail(self.owner / f'{self.role}.log')}")
        try:
            return httpx.get(f"{self.endpoint}/healthz", timeout=10, trust_env=False).is_success
        except httpx.TransportError:
            return False
