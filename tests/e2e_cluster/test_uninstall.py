"""The operator goes and comes again. The last module by name: the others need it where it is."""

from __future__ import annotations

from tests.e2e_cluster.conftest import SYSTEM, VALUES
from tests.e2e_cluster.kube import OURS, Kube, eventually, helm, run
from tests.e2e_cluster.test_mistakes import datalayer, table

FINALIZER = "superduper.io/finalizer"


def install() -> None:
    chart = ("superduper", "helm/superduper", "-n", SYSTEM, "-f", str(VALUES))
    helm("upgrade", "--install", *chart, "--wait", "--timeout", "3m")


def test_an_uninstall_leaves_objects_and_data_and_nothing_that_waits_for_the_operator(kube: Kube) -> None:
    kube.apply([datalayer(), table()])
    kube.wait_ready("table", "numbers", seconds=180)
    before = {claim["metadata"]["name"] for claim in kube.list("persistentvolumeclaims")}
    try:
        helm("uninstall", "superduper", "-n", SYSTEM, "--wait", "--timeout", "3m")
        everywhere = kube.list(OURS)
        assert {found["metadata"]["name"] for found in everywhere} == {"shop", "numbers"}
        assert not [found for found in everywhere if FINALIZER in found["metadata"].get("finalizers", [])]
        assert [found["status"]["readyReplicas"] for found in kube.list("deployments")] == [1], "the server goes on"
        kube("delete", "table", "numbers", "--timeout=20s")
    finally:
        install()
    eventually(
        "the operator has put its finalizer back",
        lambda: FINALIZER in kube.get("datalayer", "shop")["metadata"].get("finalizers", []),
        seconds=60,
        see=kube.overview,
    )
    kube.apply([table()])
    assert kube.wait_ready("table", "numbers", seconds=120)["status"]["rows"] == 20
    assert {claim["metadata"]["name"] for claim in kube.list("persistentvolumeclaims")} == before


def test_the_plain_manifests_are_taken_by_the_api_server(system: Kube) -> None:
    # Helm has them applied here, and the two write some defaults differently.
    options = ("apply", "--server-side", "--dry-run=server", "--force-conflicts")
    for folder in ("deploy", "deploy/uninstall"):
        assert "serverside-applied" in run("kubectl", *options, "-k", folder)
