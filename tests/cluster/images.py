"""The project's images: built from the Dockerfile by whichever builder is there, and handed to nodes.

Buildah keeps its storage in the cache and so touches no other images of this machine. It builds on a Debian tree made
by mmdebstrap, since a machine without a container engine has usually no registry to pull a base from either.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from tests.cluster import binaries, debian
from tests.cluster.layout import Layout
from tests.cluster.paths import CACHE, ROOT
from tests.cluster.shell import run, say, succeeds

LOCAL: Final = {
    "operator": "localhost/agenttask-operator:dev",
    "runner": "localhost/agenttask-runner:dev",
    "devstore": "localhost/agenttask-devstore:dev",
}
"""Dockerfile target to the name under which clusters know its image."""
_BASE: Final = "localhost/agenttask-base:trixie"
_AUTHORITIES: Final = Path("/etc/ssl/certs/ca-certificates.crt")


class Builder(Protocol):
    """Builds the Dockerfile's targets and writes them out."""

    def build(self, *, target: str, image: str) -> None:
        """Build one target under a name."""

    def has(self, *, image: str) -> bool:
        """Whether an image of that name is there."""

    def archive(self, *, images: list[str]) -> list[Path]:
        """Write images as docker-archives, one file each."""


def pushed(*, registry: str, tag: str) -> dict[str, str]:
    """Dockerfile target to the name under which `push` puts its image into a registry."""
    return {target: f"{registry.rstrip('/')}/agenttask-{target}:{tag}" for target in LOCAL}


def build(*, builder: Builder, targets: tuple[str, ...] = ("operator", "runner")) -> list[str]:
    """Build those targets whose inputs have changed under their local names, and return the names of all."""
    for target in targets:
        image = LOCAL[target]
        built = _folder() / f"{target}.inputs"
        inputs = f"{digest_of_inputs()} {builder!r} {os.environ.get('BASE', '')}"
        if built.exists() and built.read_text() == inputs and builder.has(image=image):
            continue
        say(f"building {image}")
        builder.build(target=target, image=image)
        built.write_text(inputs)
    return [LOCAL[target] for target in targets]


def digest_of_inputs() -> str:
    """One digest over all that goes into an image."""
    digest = hashlib.sha256()
    single = [ROOT / name for name in ("Dockerfile", ".dockerignore", "pyproject.toml", "uv.lock")]
    trees = [path for name in ("operator", "runner") for path in (ROOT / name).rglob("*") if path.is_file()]
    for path in [*single, *sorted(trees)]:
        if "__pycache__" not in path.parts:
            digest.update(f"{path.relative_to(ROOT)}\0{path.stat().st_mode}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def base() -> str:
    """The base image given by BASE, or the Dockerfile's own default."""
    return os.environ.get("BASE", "python:3.13-slim")


def versitygw_context() -> Path:
    """Folder with the S3 server's program, the build context of target devstore."""
    binaries.provide(binaries.S3_SERVER)
    return binaries.program("versitygw").resolve().parent


@dataclass(frozen=True, kw_only=True)
class Docker:
    """Builds with the Docker engine DOCKER_HOST names."""

    def build(self, *, target: str, image: str) -> None:
        context = [f"--build-context=versitygw={versitygw_context()}"] if target == "devstore" else []
        run(
            "docker",
            "build",
            "--target",
            target,
            "--build-arg",
            f"BASE={base()}",
            *context,
            "-t",
            image,
            ROOT,
            timeout_seconds=900,
        )

    def has(self, *, image: str) -> bool:
        return succeeds("docker", "image", "inspect", image)

    def archive(self, *, images: list[str]) -> list[Path]:
        paths = []
        for image in images:
            path = _archive_path(image)
            run("docker", "save", "-o", path, image)
            paths.append(path)
        return paths


@dataclass(frozen=True, kw_only=True)
class Buildah:
    """Builds without an engine, as root."""

    def build(self, *, target: str, image: str) -> None:
        options = ["--isolation", "chroot", "--layers", "--build-arg", f"BASE={self._base()}"]
        # Downloads are kept between builds; the authorities are the machine's, which may know more than the base's.
        cache = CACHE / "build"
        cache.mkdir(parents=True, exist_ok=True)
        options += ["-v", f"{cache}:/root/.cache:rw"]
        if _AUTHORITIES.exists():
            options += ["-v", f"{_AUTHORITIES}:{_AUTHORITIES}:ro"]
        if target == "devstore":
            options.append(f"--build-context=versitygw={versitygw_context()}")
        self._buildah("bud", "-q", *options, "--target", target, "-t", image, str(ROOT))

    def has(self, *, image: str) -> bool:
        return succeeds("buildah", *self._storage, "inspect", "--type", "image", image)

    def archive(self, *, images: list[str]) -> list[Path]:
        paths = []
        for image in images:
            path = _archive_path(image)
            path.unlink(missing_ok=True)
            self._buildah("push", "-q", image, f"docker-archive:{path}:{image}")
            paths.append(path)
        return paths

    def layout(self, *, images: list[str]) -> Layout:
        """Write images out for nodes to be sent; one that is written already is not written again."""
        folders = {}
        for image in images:
            identity = self._buildah("inspect", "--type", "image", "--format", "{{.FromImageID}}", image).strip()
            folder = _folder() / "exported" / image.rpartition("/")[2].replace(":", "-")
            written = folder.with_suffix(".id")
            if not written.exists() or written.read_text() != identity:
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir(parents=True)
                self._buildah("push", "-q", image, f"dir:{folder}")
                written.write_text(identity)
            folders[image] = folder
        return Layout(images=folders)

    @property
    def _storage(self) -> tuple[str, ...]:
        return (
            "--root",
            str(CACHE / "containers"),
            "--runroot",
            "/run/agenttask-buildah",
            "--storage-driver",
            "overlay",
        )

    def _buildah(self, *words: str) -> str:
        return run("buildah", *self._storage, *words, timeout_seconds=900)

    def _base(self) -> str:
        if os.environ.get("BASE"):
            return base()
        if not self.has(image=_BASE):
            container = self._buildah("from", "scratch").strip()
            self._buildah("add", "-q", container, str(_debian_tree()), "/")
            self._buildah("commit", "-q", container, _BASE)
            self._buildah("rm", container)
        return _BASE


def _debian_tree() -> Path:
    """A minimal Debian with Python 3.13, as a tar."""
    path = CACHE / "images" / "debian-trixie.tar"
    if path.exists():
        return path
    debian.require({"mmdebstrap": "mmdebstrap"})
    say("making a base image from Debian packages, once (about half a minute)")
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new.tar")
    without = [f"--dpkgopt=path-exclude=/usr/share/{folder}/*" for folder in ("doc", "man", "locale", "info")]
    packages = "--include=python3,python3-venv,ca-certificates"
    run("mmdebstrap", "--quiet", "--variant=minbase", packages, *without, "trixie", fresh, timeout_seconds=600)
    fresh.rename(path)
    return path


def _archive_path(image: str) -> Path:
    return _folder() / f"{image.rpartition('/')[2].replace(':', '-')}.tar"


def _folder() -> Path:
    """What this work tree's images are kept in: two trees build different ones under the same names."""
    folder = CACHE / "images" / hashlib.sha256(str(ROOT).encode()).hexdigest()[:12]
    folder.mkdir(parents=True, exist_ok=True)
    return folder
