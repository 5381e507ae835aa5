"""One-layer container images from a few files, in the archive format `docker load` and containerd read."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def write_archive(*, path: Path, image: str, files: Mapping[str, Path], entrypoint: Sequence[str]) -> None:
    """Write an image of executable files (path in the image to source) as a docker-archive."""
    layer = _tar({name: (source.read_bytes(), 0o755) for name, source in files.items()})
    layer_name = hashlib.sha256(layer).hexdigest()
    config = json.dumps(
        {
            "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
            "os": "linux",
            "config": {"Entrypoint": list(entrypoint), "WorkingDir": "/"},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer_name}"]},
        }
    ).encode()
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = json.dumps([{"Config": config_name, "RepoTags": [image], "Layers": [f"{layer_name}.tar"]}]).encode()
    content = {config_name: config, f"{layer_name}.tar": layer, "manifest.json": manifest}
    path.write_bytes(_tar({name: (body, 0o644) for name, body in content.items()}))


def _tar(files: Mapping[str, tuple[bytes, int]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, (body, mode) in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(body), mode
            archive.addfile(entry, io.BytesIO(body))
    return buffer.getvalue()
