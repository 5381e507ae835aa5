"""The configuration file: what it means, and how a wrong one is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from agenttask import contract
from agenttask_operator import settings


def written(folder: Path, text: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(text)
    return path


def test_a_whole_file(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """
runner: {image: "r:1", imagePullPolicy: Always, imagePullSecrets: [{name: pull}]}
model: {baseURL: "https://m.example/v1", name: small, apiKeySecretRef: {name: key, key: api-key}}
store: {s3: {bucket: b, prefix: p, endpoint: "http://s3", region: eu, credentialsSecretRef: {name: s3}}}
leaderElection: {enabled: false, leaseName: l}
watchNamespaces: [blue, red]
clientConnection: {qps: 20, burst: 30}
log: {format: text, level: debug}
workers: 8
resyncSeconds: 120
""",
    )
    assert settings.load(path) == settings.Settings(
        runner=settings.Runner(
            image="r:1", image_pull_policy="Always", image_pull_secrets=(contract.SecretRef(name="pull"),)
        ),
        model=contract.Model(
            base_url="https://m.example/v1", name="small", api_key_secret_ref=contract.SecretKeyRef(name="key")
        ),
        store=settings.Store(
            s3=contract.S3(
                bucket="b",
                prefix="p",
                endpoint="http://s3",
                region="eu",
                credentials_secret_ref=contract.SecretRef(name="s3"),
            )
        ),
        leader_election=settings.LeaderElection(enabled=False, lease_name="l"),
        watch_namespaces=("blue", "red"),
        client_connection=settings.ClientConnection(qps=20, burst=30),
        log=settings.Log(format="text", level="debug"),
        workers=8,
        resync_seconds=120,
    )


def test_the_least_file(tmp_path: Path) -> None:
    made = settings.load(written(tmp_path, "runner: {image: r}"))
    assert (made.model, made.store, made.leader_election.enabled) == (None, None, True)


@pytest.mark.parametrize(
    ("text", "named"),
    {
        "a key nobody knows": ("runner: {image: r}\nmodle: {}", "modle"),
        "no runner": ("{}", "runner"),
        "no YAML": ("runner: [", "config.yaml"),
        "no workers": ("runner: {image: r}\nworkers: 0", "workers"),
        "a pace that never comes": ("runner: {image: r}\nclientConnection: {qps: 0}", "qps"),
        "a resync that never rests": ("runner: {image: r}\nresyncSeconds: 1", "resyncSeconds"),
        "half a model": ("runner: {image: r}\nmodel: {name: small}", "baseURL"),
    }.values(),
)
def test_a_wrong_file_is_named(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(settings.SettingsError, match=named):
        settings.load(written(tmp_path, text))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(settings.SettingsError, match="nowhere"):
        settings.load(tmp_path / "nowhere")


@pytest.mark.parametrize("store", ["{}", "{s3: {bucket: b}, redis: {url: redis://r}}"])
def test_a_default_store_is_one_place(tmp_path: Path, store: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(f"runner: {{image: i}}\nstore: {store}\n")
    with pytest.raises(settings.SettingsError, match="exactly one of s3, redis and filesystem"):
        settings.load(file)
