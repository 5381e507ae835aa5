"""What is sent to nodes: one-layer images, and layouts without the blobs a node has."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import IO

import pytest

from tests.cluster import images, oci
from tests.cluster.layout import Layout


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """Two images over one base layer, as Buildah exports them."""

    def image(name: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()

        def blob(content: str) -> dict[str, str]:
            digest = hashlib.sha256(content.encode()).hexdigest()
            (folder / digest).write_text(content)
            return {"digest": f"sha256:{digest}"}

        layers = [blob("base"), blob(f"layer of {name}")]
        manifest = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "layers": layers}
        (folder / "manifest.json").write_text(json.dumps({**manifest, "config": blob(f"config of {name}")}))
        return folder

    return Layout(images={name: image(name) for name in ("one", "two")})


def files_of(stream: IO[bytes]) -> dict[str, bytes]:
    """What an archive holds, by name."""
    found = {}
    with tarfile.open(fileobj=stream) as archive:
        for member in archive.getmembers():
            body = archive.extractfile(member)
            assert body is not None
            found[member.name] = body.read()
    return found


def sent(layout: Layout, *, present: set[str]) -> dict[str, bytes]:
    """The archive's files."""
    stream = io.BytesIO()
    layout.write(stream=stream, present=present)
    return files_of(io.BytesIO(stream.getvalue()))


def test_an_archive_names_every_image_and_holds_each_blob_once_under_its_digest(layout: Layout) -> None:
    files = sent(layout, present=set())
    blobs = {name.rpartition("/")[2]: body for name, body in files.items() if name.startswith("blobs/sha256/")}
    assert {hashlib.sha256(body).hexdigest() for body in blobs.values()} == set(blobs)
    assert sorted(body for body in blobs.values() if not body.startswith(b"{")) == [
        b"base",
        b"config of one",
        b"config of two",
        b"layer of one",
        b"layer of two",
    ]
    entries = json.loads(files["index.json"])["manifests"]
    assert {entry["annotations"]["org.opencontainers.image.ref.name"]: entry["digest"] for entry in entries} == {
        name: f"sha256:{hashlib.sha256((folder / 'manifest.json').read_bytes()).hexdigest()}"
        for name, folder in layout.images.items()
    }


def test_an_archive_leaves_out_what_the_node_has(layout: Layout) -> None:
    base = hashlib.sha256(b"base").hexdigest()
    assert set(sent(layout, present=set())) - set(sent(layout, present={base})) == {f"blobs/sha256/{base}"}


def test_a_one_layer_image_names_its_layer_by_digest(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"x")
    path = tmp_path / "image.tar"
    oci.write_archive(path=path, image="localhost/x:1", files={"bin/x": program}, entrypoint=["/bin/x"])
    files = files_of(io.BytesIO(path.read_bytes()))
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
