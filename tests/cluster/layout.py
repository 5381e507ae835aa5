"""Images on their way from the builder to nodes: an archive that holds only what a node lacks.

A layer is sent as it is, uncompressed: packing it would take longer than anything else between a change of code and
the pod that runs it.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

_NAME: Final = "org.opencontainers.image.ref.name"


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Exported images: each a folder with its manifest.json, and its blobs by sha256 digest in hex."""

    images: Mapping[str, Path]

    def write(self, *, stream: IO[bytes], present: set[str]) -> None:
        """Write an OCI archive of all images without the blobs of the given digests."""
        entries, blobs = [], {}
        for name, folder in self.images.items():
            body = (folder / "manifest.json").read_bytes()
            manifest: dict[str, Any] = json.loads(body)
            digest = hashlib.sha256(body).hexdigest()
            entries.append(
                {
                    "mediaType": manifest["mediaType"],
                    "digest": f"sha256:{digest}",
                    "size": len(body),
                    "annotations": {_NAME: name},
                }
            )
            blobs[digest] = folder / "manifest.json"
            for blob in (manifest["config"], *manifest["layers"]):
                found = str(blob["digest"]).removeprefix("sha256:")
                blobs[found] = folder / found
        with tarfile.open(fileobj=stream, mode="w|") as archive:
            _add(archive, name="oci-layout", content={"imageLayoutVersion": "1.0.0"})
            _add(archive, name="index.json", content={"schemaVersion": 2, "manifests": entries})
            for digest in sorted(set(blobs) - present):
                archive.add(blobs[digest], f"blobs/sha256/{digest}")


def _add(archive: tarfile.TarFile, *, name: str, content: object) -> None:
    body = json.dumps(content).encode()
    entry = tarfile.TarInfo(name)
    entry.size = len(body)
    archive.addfile(entry, io.BytesIO(body))
