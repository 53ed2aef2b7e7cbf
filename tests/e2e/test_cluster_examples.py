"""The examples for a cluster, embedded: the very same YAML, with provisioned stores replaced by files."""

from __future__ import annotations

import base64
import re
import shutil
from pathlib import Path

import pytest
import yaml

from superduper.api.v1alpha1 import KINDS
from superduper.manifests import load
from tests.e2e.command import EXAMPLES, superduper

FOLDERS = sorted(folder for folder in EXAMPLES.iterdir() if re.match(r"1\d-", folder.name))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_manifest_is_of_a_known_kind_and_every_folder_has_a_readme(folder: Path) -> None:
    loaded = load([folder])
    assert {manifest.object.kind for manifest in loaded} <= KINDS.keys()
    assert "Datalayer" in {manifest.object.kind for manifest in loaded}
    assert f"examples/{folder.name}" in (folder / "README.md").read_text()


@pytest.mark.parametrize("folder", ["10-cluster-digits", "11-cluster-sqlite"])
@pytest.mark.parametrize("file", ["table.yaml", "model.yaml"])
def test_only_the_datalayer_differs_between_a_laptop_and_a_cluster(folder: str, file: str) -> None:
    assert (EXAMPLES / folder / file).read_text() == (EXAMPLES / "01-digits" / file).read_text()


def test_the_digits_of_the_cluster_run_here_and_what_differs_is_said(tmp_path: Path) -> None:
    printed = superduper(tmp_path, "apply", "-f", str(EXAMPLES / "10-cluster-digits"))
    assert "databackend: postgres is provisioned in a cluster; here it is sqlite" in printed
    assert "artifactStore: s3 is provisioned in a cluster; here it is filesystem" in printed
    assert "1,797 of 1,797" in printed


def test_a_database_given_by_a_secret_among_the_manifests_is_used(tmp_path: Path, postgres_uri: str) -> None:
    folder = tmp_path / "stations"
    shutil.copytree(EXAMPLES / "12-outside-database", folder)
    secret = yaml.safe_load((folder / "secret.yaml").read_text())
    # As database operators write theirs.
    secret["data"] = {key: base64.b64encode(postgres_uri.encode()).decode() for key in secret.pop("stringData")}
    (folder / "secret.yaml").write_text(yaml.safe_dump(secret))
    printed = superduper(tmp_path, "apply", "-f", "stations")
    assert "48 of 48" in printed
    assert "postgresql://" in printed
    assert postgres_uri.partition("@")[0].rpartition(":")[2] not in printed
    assert not list((tmp_path / ".superduper").glob("stations*.db"))


def test_code_beside_the_manifests_is_what_kustomize_would_make_a_configmap_of(tmp_path: Path) -> None:
    folder = tmp_path / "quotes"
    shutil.copytree(EXAMPLES / "14-configmap-code", folder)
    printed = superduper(tmp_path, "apply", "-f", "quotes")
    assert "duckdb is provisioned in a cluster; here it is duckdb" in printed
    assert re.search(r"melville +Call me Ishmael\. +1\n", printed)
    text = (folder / "text.py").read_text()
    (folder / "text.py").write_text(text.replace("<= longest", "> longest"))
    assert re.search(r"melville +Call me Ishmael\. +2\n", superduper(tmp_path, "apply", "-f", "quotes"))
