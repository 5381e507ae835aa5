"""`make images`: build the images here, or build and push them for a real cluster to pull."""

from __future__ import annotations

import shutil

from tests.cluster import images
from tests.cluster.paths import ROOT
from tests.cluster.shell import ClusterError, run, say


def publish(*, registry: str, tag: str, platforms: str) -> None:
    """Build for this machine's nodes if no registry is given, else build for all platforms and push.

    `platforms` is comma-separated, linux/amd64 for one; empty means this machine's.
    """
    if not registry:
        if tag or platforms:
            raise ClusterError("TAG and PLATFORMS need a REGISTRY to push to")
        builder: images.Builder = images.Buildah() if shutil.which("buildah") else images.Docker()
        for image in images.build(builder=builder, targets=tuple(images.LOCAL)):
            print(image)
        say("these names are for local test clusters; with REGISTRY=… TAG=… the images are pushed")
        return
    pushed = images.pushed(registry=registry, tag=tag or "dev")
    for target, image in pushed.items():
        say(f"building and pushing {image}")
        _push(target=target, image=image, platforms=platforms)
    print("Install the chart with:")
    for target, image in pushed.items():
        repository, _, name = image.rpartition(":")
        block = {"devstore": "devStore"}.get(target, target)
        print(f"  --set image.{block}.repository={repository} --set image.{block}.tag={name}")


def _push(*, target: str, image: str, platforms: str) -> None:
    # Emulated builds take minutes.
    limit = 3600
    options = ["--target", target, "--build-arg", f"BASE={images.base()}"]
    if target == "devstore":
        options.append(f"--build-context=versitygw={images.versitygw_context()}")
        # It is for trying things out; its program is built for this machine alone.
        platforms = ""
    if platforms:
        options.append(f"--platform={platforms}")
    if shutil.which("docker"):
        run("docker", "buildx", "build", *options, "--tag", image, "--push", ROOT, timeout_seconds=limit)
    elif shutil.which("buildah"):
        run("buildah", "bud", "--layers", *options, "--manifest", image, ROOT, timeout_seconds=limit)
        run("buildah", "manifest", "push", "--all", image, f"docker://{image}", timeout_seconds=limit)
    else:
        raise ClusterError("needs Docker (with buildx) or Buildah")
