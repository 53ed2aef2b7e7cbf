"""Every file in examples/ is taken by the API server. To their ends test_digits.py brings 10 and 11; of 02 test_media.py has the tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e_cluster.kube import REPOSITORY, Kube

FOLDERS = sorted(
    folder for folder in (REPOSITORY / "examples").iterdir() if list(folder.glob("*.yaml"))
)  # fmt: skip


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_example_is_taken_by_the_api_server(kube: Kube, folder: Path) -> None:
    if (folder / "kustomization.yaml").exists():
        printed = kube("apply", "--server-side", "--dry-run=server", "-k", str(folder))
    else:
        printed = kube.apply(folder, "--dry-run=server")
    assert "serverside-applied" in printed
