"""Every file in examples/ is taken by the API server, and comes to the end that its README tells; 10 and 11 with the digits."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e_cluster.kube import REPOSITORY, Kube
from tests.e2e_cluster.test_digits import ROWS, outside_database

EXAMPLES = REPOSITORY / "examples"
FOLDERS = sorted(folder for folder in EXAMPLES.iterdir() if list(folder.glob("*.yaml")))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_example_is_taken_by_the_api_server(kube: Kube, folder: Path) -> None:
    if (folder / "kustomization.yaml").exists():
        printed = kube("apply", "--server-side", "--dry-run=server", "-k", str(folder))
    else:
        printed = kube.apply(folder, "--dry-run=server")
    assert "serverside-applied" in printed


def test_the_first_example_is_the_same_on_a_cluster(kube: Kube) -> None:
    kube.apply(EXAMPLES / "01-digits")
    assert kube.wait_ready("model", "classifier", seconds=300)["status"]["coverage"] == f"{ROWS}/{ROWS}"


def test_sources_on_the_users_own_disk_are_told_from_what_a_server_can_read(kube: Kube) -> None:
    kube.apply(EXAMPLES / "02-media")
    kube.wait_ready("datalayer", "media", seconds=120)
    for name in ("pictures", "films", "sounds"):
        assert "media/" in kube.wait_reason("table", name, "SourceFailed", seconds=60)
    assert "pictures" in kube.wait_reason("model", "brightness", "DependencyNotReady", seconds=60)


def test_a_database_that_is_run_elsewhere_with_two_servers(kube: Kube) -> None:
    _, *database = outside_database("stations-rw", "change-me", user="app")
    kube.apply(database)
    kube.apply(EXAMPLES / "12-outside-database")
    assert kube.wait_ready("model", "fahrenheit", seconds=240)["status"]["coverage"] == "48/48"
    assert kube.get("deployment", "stations-server")["spec"]["replicas"] == 2


def test_a_certificate_that_is_not_there_yet_is_named(kube: Kube) -> None:
    kube.apply(EXAMPLES / "13-s3-and-tls")
    assert "archive-tls" in kube.wait_reason("datalayer", "archive", "SecretMissing", seconds=90)


def test_code_by_kustomize_on_duckdb(kube: Kube) -> None:
    kube("apply", "--server-side", "-k", str(EXAMPLES / "14-configmap-code"))
    status = kube.wait_ready("model", "short-words", seconds=240)["status"]
    assert status["rows"] == status["predicted"] > 0
    assert kube.get("datalayer", "quotes")["status"]["databackend"].startswith("duckdb:")
