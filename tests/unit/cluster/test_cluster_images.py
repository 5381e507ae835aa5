"""What is sent to nodes: one-layer images, and layouts without the blobs a node has."""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path

import pytest

from tests.cluster import images, oci
from tests.cluster.images import Layout


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """Two images over one base layer, and one that lost its name."""
    blobs = tmp_path / "layout" / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def blob(content: str) -> dict[str, str]:
        digest = hashlib.sha256(content.encode()).hexdigest()
        (blobs / digest).write_text(content)
        return {"digest": f"sha256:{digest}"}

    def image(name: str) -> dict[str, str]:
        layers = [blob("base"), blob(f"layer of {name}")]
        return blob(json.dumps({"config": blob(f"config of {name}"), "layers": layers}))

    named = "org.opencontainers.image.ref.name"
    entries = [{**image(name), "annotations": {named: name}} for name in ("one", "two")]
    index = {"schemaVersion": 2, "manifests": [*entries, image("replaced")]}
    (blobs.parents[1] / "index.json").write_text(json.dumps(index))
    (blobs.parents[1] / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return Layout(folder=blobs.parents[1])


def files_of(path: Path) -> dict[str, bytes]:
    """What an archive holds, by name."""
    found = {}
    with tarfile.open(path) as archive:
        for member in archive.getmembers():
            body = archive.extractfile(member)
            assert body is not None
            found[member.name] = body.read()
    return found


def written(layout: Layout, *, names: list[str], present: set[str]) -> tuple[list[str], list[str]]:
    """Names of images and contents of layers in the archive."""
    path = layout.folder / "archive.tar"
    layout.write(path=path, images=names, present=present)
    bodies = {name: body.decode() for name, body in files_of(path).items()}
    entries = json.loads(bodies["index.json"])["manifests"]
    layers = sorted(body for body in bodies.values() if body == "base" or body.startswith("layer"))
    return [entry["annotations"]["org.opencontainers.image.ref.name"] for entry in entries], layers


def test_an_archive_holds_the_chosen_images_alone(layout: Layout) -> None:
    assert written(layout, names=["one"], present=set()) == (["one"], ["base", "layer of one"])


def test_an_archive_leaves_out_what_the_node_has(layout: Layout) -> None:
    base = hashlib.sha256(b"base").hexdigest()
    assert written(layout, names=["one", "two"], present={base}) == (["one", "two"], ["layer of one", "layer of two"])


def test_replaced_images_are_forgotten_and_their_blobs_deleted(layout: Layout) -> None:
    layout.prune()
    left = {path.read_text() for path in (layout.folder / "blobs" / "sha256").iterdir()}
    assert {text for text in left if "layer of" in text or text == "base"} == {"base", "layer of one", "layer of two"}


def test_a_one_layer_image_names_its_layer_by_digest(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"x")
    path = tmp_path / "image.tar"
    oci.write_archive(path=path, image="localhost/x:1", files={"bin/x": program}, entrypoint=["/bin/x"])
    files = files_of(path)
    (entry,) = json.loads(files["manifest.json"])
    layer = files[entry["Layers"][0]]
    config = json.loads(files[entry["Config"]])
    assert entry["RepoTags"] == ["localhost/x:1"]
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(layer).hexdigest()}"]


def test_pushed_names_carry_registry_and_tag() -> None:
    assert images.pushed(registry="registry.example.com/agents/", tag="1.2") == {
        "operator": "registry.example.com/agents/agenttask-operator:1.2",
        "runner": "registry.example.com/agents/agenttask-runner:1.2",
        "devstore": "registry.example.com/agents/agenttask-devstore:1.2",
    }
