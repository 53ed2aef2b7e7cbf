"""``superduper --datalayer NAME``, ``-n``, ``--uri http://…``: the same commands on a Datalayer in a cluster."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.integration.http.conftest import TOKEN, Cli, Cluster, item

MANIFEST = """
apiVersion: superduper.io/v1alpha1
kind: Datalayer
metadata: {name: digits}
spec: {databackend: {uri: "sqlite://rows.db"}}
"""


def rows(out: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.splitlines()]


def test_commands_work_on_a_datalayer_that_the_cluster_has(cli: Cli, cluster: Cluster) -> None:
    on = ("--datalayer", "digits")
    found = rows(cli(*on, "query", "numbers", '{"n": {"$gt": 2}}', "--outputs", "plus_one", "--json").out)
    assert [(row["id"], row["n"], row["_outputs"]) for row in found] == [
        ("r3", 3, {"plus_one": 4}),
        ("r4", 4, {"plus_one": 5}),
    ]
    # By the object's name in the cluster too.
    assert cli(*on, "query", "the-numbers", "--count").out == "5\n"
    assert "1 rows inserted (new)" in cli(*on, "insert", "numbers", "--set", "id=new", "--set", "n=9").out
    assert cli(*on, "predict", "plus-one", "41").out == "42\n"
    assert cli(*on, "predict", "plus_one", "--row", "new").out == "10\n"
    assert "6 of 6" in cli(*on, "rerun", "plus-one").out
    assert "no row failed" in cli(*on, "errors", "plus-one").out
    assert "every artifact" in cli(*on, "verify").out
    assert "objects kept" in cli(*on, "gc", "--dry-run").out
    assert cli(*on, "artifact", "ls").out.startswith("ID")


def test_artifacts_go_up_and_come_down(cli: Cli, cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "payload").write_bytes(os.urandom(3 << 20))
    on = ("--datalayer", "digits")
    reference = cli(*on, "artifact", "put", "payload").out.strip()
    cli(*on, "artifact", "get", reference, "-o", "back")
    assert (tmp_path / "back").read_bytes() == (tmp_path / "payload").read_bytes()


def test_objects_are_listed_and_described_as_the_cluster_has_them(cli: Cli, cluster: Cluster) -> None:
    listed = cli("--datalayer", "digits", "get", "all").out
    for word in ("datalayer/digits", "table/the-numbers", "model/plus-one", "5 of 5"):
        assert word in listed
    assert json.loads(cli("-n", "default", "get", "model", "plus-one", "-o", "json").out)["status"]["predicted"] == 5
    told = cli("--datalayer", "digits", "describe", "model", "plus-one").out
    assert "Versions:    0" in told
    assert "predict" in told


def test_no_tunnel_is_left_behind(cli: Cli, cluster: Cluster) -> None:
    cli("--datalayer", "digits", "query", "numbers")
    cli("--datalayer", "digits", "query", "nothing", code=1)
    tunnels = [int(line.split()[0]) for line in cluster.calls if "port-forward" in line]
    assert len(tunnels) == 2
    for pid in tunnels:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_the_home_goes_first_and_a_namespace_means_the_cluster(cli: Cli, cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "here.yaml").write_text(MANIFEST)
    cli("apply", "-f", "here.yaml")
    assert "no table 'numbers'" in cli("--datalayer", "digits", "query", "numbers", code=1).err
    assert cluster.calls == []
    assert cli("--datalayer", "digits", "-n", "default", "query", "numbers", "--count").out == "5\n"


def test_what_is_missing_is_said(cli: Cli, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*words: str) -> str:
        return cli(*words, "query", "numbers", code=1).err

    assert "no Datalayer 'digts' in namespace 'default' of the cluster; did you mean 'digits'" in refused(
        "--datalayer", "digts", "-n", "default"
    )
    assert "in namespace 'elsewhere'" in refused("--datalayer", "digits", "-n", "elsewhere")
    cluster.write(forbidden=True)
    assert 'User "ann" cannot get resource "secrets"; ask for that right' in refused("--datalayer", "digits")
    cluster.write(forbidden=False, no_way=True)
    assert "pod is not running" in refused("--datalayer", "digits")
    cluster.write(
        no_way=False,
        fails="The connection to the server 10.0.0.1:6443 was refused - did you specify the right host or port?",
    )
    assert "10.0.0.1:6443 was refused" in refused("--datalayer", "digits")
    cluster.write(fails='error: the server doesn\'t have a resource type "datalayers"')
    assert "superduper is not installed in this cluster" in refused("--datalayer", "digits")
    monkeypatch.setenv("PATH", "/nowhere")
    assert "no cluster to look in: kubectl is not installed" in refused("--datalayer", "digits")


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (
            {"conditions": [{"type": "Ready", "status": "False", "reason": "Unreachable", "message": "10.0.0.9 does not answer",
                             "observedGeneration": 1, "lastTransitionTime": "2026-01-01T00:00:00Z"}]},
            "not ready: Unreachable: 10.0.0.9 does not answer",
        ),
        ({"conditions": []}, "has no server yet"),
    ],
)  # fmt: skip
def test_a_datalayer_that_is_not_ready_says_why(
    cli: Cli, cluster: Cluster, status: dict[str, object], said: str
) -> None:
    cluster.write(items=[item("Datalayer", "digits", {"databackend": {"provision": {"engine": "postgres"}}}, status)])
    assert said in cli("--datalayer", "digits", "query", "numbers", code=1).err


def test_a_server_is_named_by_its_address_too(cli: Cli, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.conftest import read_settings_anew

    assert "wants a token" in cli("--uri", cluster.uri, "query", "numbers", code=1).err
    assert cli("--uri", cluster.uri, "--token", TOKEN, "query", "numbers", "--count").out == "5\n"
    monkeypatch.setenv("SUPERDUPER_TOKEN", TOKEN)
    read_settings_anew()
    assert cli("query", "numbers", "--count", "--uri", cluster.uri).out == "5\n"
    monkeypatch.setenv("SUPERDUPER_DATABACKEND", cluster.uri)
    read_settings_anew()
    assert cli("query", "numbers", "--count").out == "5\n"
    assert cluster.calls == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--uri", "http://h", "--datalayer", "d", "query", "t"), "not both"),
        (("--datalayer", "d", "apply", "-f", "x.yaml"), "with kubectl apply"),
        (("-n", "ns", "delete", "table", "x"), "with kubectl apply"),
        (("--uri", "http://h", "get", "all"), "give --datalayer NAME"),
    ],
)
def test_what_does_not_go_together_is_refused(cli: Cli, words: tuple[str, ...], said: str) -> None:
    assert said in cli(*words, code=2).err
