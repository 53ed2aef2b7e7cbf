"""The other commands: getting, deleting, choosing a Datalayer, looking after artifacts."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from superduper.cli import COMMANDS
from tests.integration.cli.conftest import DATALAYER, MODEL, TABLE, Cli

PROVISIONED = """
apiVersion: superduper.io/v1alpha1
kind: Datalayer
metadata: {name: local}
spec:
  databackend: {provision: {engine: postgres}}
  deletionPolicy: Delete
"""
FILES = """
apiVersion: superduper.io/v1alpha1
kind: DataType
metadata: {name: data}
spec: {datalayerRef: {name: local}, codec: bytes, encodable: artifact}
---
apiVersion: superduper.io/v1alpha1
kind: Table
metadata: {name: files}
spec:
  datalayerRef: {name: local}
  fields: {data: {dataType: data}, size: {type: int}, folder: {type: str}}
  source: {uri: "file://./files", format: files}
"""


def test_what_is_there_is_shown_beside_the_error_of_what_is_not(cli: Cli, numbers: Path) -> None:
    cli("apply", "-f", str(numbers))
    for words in (["models", "plus", "nope"], ["mdl/plus", "mdl/nope"]):
        said = cli("get", *words, code=1)
        assert said.out.splitlines()[1].startswith("plus ")
        assert said.err.startswith("error: no Model 'nope' in .superduper; there are: plus")
    assert cli("get", "model", "nope", code=1).out == ""


def test_objects_as_json_are_a_list_that_can_be_applied(cli: Cli, numbers: Path) -> None:
    cli("apply", "-f", str(numbers))
    text = cli("get", "all", "-o", "json").out
    shown = json.loads(text)
    assert (shown["apiVersion"], shown["kind"], len(shown["items"])) == ("v1", "List", 3)
    assert json.loads(cli("get", "mdl/plus", "-o", "json").out)["kind"] == "Model"
    assert "nothing changed, nothing was run" in cli("apply", "-f", "-", stdin=text).out
    Path("list.json").write_text(text.replace('"callable"', '"calable"'))
    place = text[: text.index('"callable"')].count("\n") + 1
    assert cli("apply", "-f", "list.json", code=1).err.startswith(f"error: list.json:{place}: spec.object.calable")
    assert "a List has apiVersion v1" in cli("apply", "-f", "-", stdin="{apiVersion: v1, kind: List}", code=1).err


def test_what_describe_and_query_tell_comes_as_json_and_yaml_too(cli: Cli, numbers: Path) -> None:
    (numbers / "all.yaml").write_text((numbers / "all.yaml").read_text().replace("x + 1", "10 // (x - 3)"))
    cli("apply", "-f", str(numbers))
    told = json.loads(cli("describe", "model", "plus", "-o", "json").out)
    assert (told["object"]["kind"], told["versions"], told["errors"][0]["row"]) == ("Model", [0], "r3")
    assert (told["jobs"][0]["kind"], told["jobs"][0]["rows"], told["jobs"][0]["failed"]) == ("predict", 10, 1)
    assert yaml.safe_load(cli("describe", "model", "plus", "-o", "yaml").out) == told
    assert '""' not in cli("describe", "model", "plus").out
    query = ("query", "numbers", '{"x": 4}')
    assert cli(*query, "-o", "json").out == cli(*query, "--json").out
    assert json.loads(cli(*query, "-o", "json").out)["x"] == 4


def test_urls_are_not_read_and_it_is_said_how_to(cli: Cli) -> None:
    said = cli("apply", "-f", "https://example.org/all.yaml", code=1)
    assert "URLs are not read; fetch it: curl -sSL https://example.org/all.yaml | superduper apply -f -" in said.err


def test_help_is_fast_and_imports_no_database() -> None:
    code = (
        "import sys\nfrom superduper.cli import main\ntry:\n    main(['--help'])\nfinally:\n"
        "    assert not {'sqlalchemy', 'pydantic', 'numpy', 'rich', 'superduper.cli.apply'} & set(sys.modules)"
    )
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert all(f"  {name} " in done.stdout for name in COMMANDS)
    assert time.monotonic() - started < 1


def test_python_dash_m_is_the_command_line() -> None:
    done = subprocess.run([sys.executable, "-m", "superduper", "version"], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.startswith("superduper ")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(cli: Cli, name: str) -> None:
    assert f"Usage: superduper {name}" in cli(name, "--help").out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_printed(cli: Cli, shell: str) -> None:
    assert "_SUPERDUPER_COMPLETE" in cli("completion", shell).out


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        pytest.param("get ", ["all", "datalayers", "datatypes", "tables", "models"], id="kinds"),
        pytest.param("get m", ["models"], id="a kind that was begun"),
        pytest.param("get models ", ["plus"], id="names of a kind"),
        pytest.param("describe tbl n", ["numbers"], id="a name by the short word"),
        pytest.param("describe tbl numbers ", [], id="no name twice"),
        pytest.param("delete mdl/", ["mdl/plus"], id="kind and name in one"),
        pytest.param("query ", ["numbers"], id="tables"),
        pytest.param("query numbers --outputs ", ["plus"], id="models of an option"),
        pytest.param("insert num", ["numbers"], id="a table that was begun"),
        pytest.param("predict ", ["plus"], id="models"),
        pytest.param("gc -d ", ["local"], id="datalayers"),
        pytest.param("--home nowhere get models ", [], id="another home"),
    ],
)
def test_tab_offers_kinds_and_names(
    cli: Cli, numbers: Path, monkeypatch: pytest.MonkeyPatch, typed: str, offered: list[str]
) -> None:
    cli("apply", "-f", str(numbers))
    monkeypatch.setenv("COMP_WORDS", f"superduper {typed}")
    monkeypatch.setenv("COMP_CWORD", str(len(typed.split(" "))))
    monkeypatch.setenv("_SUPERDUPER_COMPLETE", "bash_complete")
    assert cli().out.split() == [f"plain,{word}" for word in offered]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(["aply"], "did you mean 'apply'", id="an unknown command"),
        pytest.param(["apply"], "give -f FILE", id="nothing to apply"),
        pytest.param(["get", "modles"], "did you mean 'models'", id="an unknown kind"),
        pytest.param(["get", "pods"], "no kind 'pods' (kinds: ", id="a kind like none of ours"),
        pytest.param(["delete", "model"], "name what to delete", id="nothing named"),
        pytest.param(["gc", "--window", "1 day"], "is no duration", id="a wrong duration"),
        pytest.param(["query", "t", "{x: 1}"], "the filter is not JSON", id="a wrong filter"),
        pytest.param(["insert", "t"], "--set FIELD=VALUE", id="nothing to insert"),
        pytest.param(["query", "t", "--uri", "sqlite://x.db", "-d", "y"], "not both", id="two places"),
    ],
)
def test_a_wrong_call_is_one_line_and_exits_with_2(cli: Cli, words: list[str], message: str) -> None:
    said = cli(*words, code=2)
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    assert message in said.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(["get", "model", "pluss"], "did you mean 'plus'", id="an unknown name"),
        pytest.param(["query", "nmbers"], "did you mean 'numbers'", id="an unknown table"),
        pytest.param(["query", "numbers", '{"x": {"$gtt": 3}}'], "did you mean '$gt'", id="an unknown operator"),
        pytest.param(["query", "numbers", "--fields", "y"], "no field 'y'", id="an unknown field"),
        pytest.param(["predict", "plus", "--row", "zz"], "no row 'zz'", id="an unknown row"),
        pytest.param(["validate", "plus"], "has no validation", id="nothing to measure by"),
        pytest.param(["insert", "numbers", "--set", "id=r1", "--set", "x=1"], "r1", id="a duplicate key"),
        pytest.param(["insert", "numbers", "--set", "x=many"], "'many' is no int", id="a wrong type"),
        pytest.param(["query", "t", "--uri", "sqlit://x.db"], "did you mean 'sqlite'", id="an unknown scheme"),
        pytest.param(["artifact", "get", "0" * 40, "-o", "x"], "artifact", id="an unknown artifact"),
    ],
)
def test_what_fails_is_told_in_a_line_without_a_traceback(
    cli: Cli, numbers: Path, words: list[str], message: str
) -> None:
    cli("apply", "-f", str(numbers))
    said = cli(*words, code=1)
    assert said.err.startswith("error: ")
    assert message in said.err
    assert "Traceback" not in said.err
    assert "fault of superduper" not in said.err


def test_debug_shows_the_traceback(cli: Cli) -> None:
    assert "Traceback" in cli("get", "model", "nothing", "--debug", code=1).err


def test_home_is_an_option_before_or_after_the_command_and_a_variable(
    cli: Cli, numbers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli("--home", "elsewhere", "apply", "-f", str(numbers))
    assert Path("elsewhere/state.db").stat().st_mode & 0o777 == 0o600
    assert cli("get", "all", "-o", "name", "--home", "elsewhere").out.split() == [
        "datalayer/local",
        "table/numbers",
        "model/plus",
    ]
    assert "no objects" in cli("get", "all").err


def test_what_others_need_is_refused_and_named(cli: Cli, numbers: Path) -> None:
    cli("apply", "-f", str(numbers))
    assert "Model 'plus' depends on it" in cli("delete", "table", "numbers", code=1).err
    assert "'numbers'" in cli("delete", "dl/local", code=1).err
    assert cli("delete", "table", "numbers", "--force").out.split()[:3] == ["model/plus", "deleted", "(outputs"]
    assert cli("get", "all", "-o", "name").out.split() == ["datalayer/local"]


def test_delete_by_manifest_keeps_rows_that_are_to_be_retained(cli: Cli, numbers: Path) -> None:
    cli("apply", "-f", str(numbers))
    said = cli("delete", "-f", str(numbers))
    assert [line.split()[0] for line in said.out.splitlines()] == ["model/plus", "table/numbers", "datalayer/local"]
    assert "(rows are kept)" in said.out
    assert cli("delete", "-f", str(numbers), code=1).err.count("not found") == 3
    cli("delete", "-f", str(numbers), "--ignore-not-found")
    assert "10 unchanged" in cli("apply", "-f", str(numbers)).out or "10 of 10" in cli("get", "mdl").out


def test_delete_takes_rows_and_stores_where_the_policy_says_so(cli: Cli, numbers: Path) -> None:
    table = TABLE + "  deletionPolicy: Delete\n"
    (numbers / "all.yaml").write_text("---".join((PROVISIONED, table, MODEL + "  deletionPolicy: Delete\n")))
    said = cli("apply", "-f", str(numbers))
    assert "postgres is provisioned in a cluster; here it is sqlite:" in said.out
    assert Path(".superduper/local.db").exists()
    cli("delete", "model", "plus")
    cli("delete", "table", "numbers")
    (numbers / "numbers.jsonl").write_text('{"id": "r1", "x": 1}\n')
    assert "1 rows added, 0 replaced" in cli("apply", "-f", str(numbers)).out
    cli("delete", "-f", str(numbers))
    assert not Path(".superduper/local.db").exists()


def test_what_is_for_a_cluster_is_said_and_duckdb_is_a_file_here(cli: Cli, numbers: Path) -> None:
    server = "  server: {tls: {secretRef: {name: cert}}}\n  compute: {engine: job, image: own/image:1}\n"
    datalayer = PROVISIONED.replace("postgres", "duckdb") + server
    model = MODEL + "  compute: {engine: job, resources: {limits: {cpu: 1}}}\n"
    (numbers / "all.yaml").write_text(f"{datalayer}---{TABLE}---{model}")
    said = cli("apply", "-f", str(numbers)).out
    assert "duckdb is provisioned in a cluster; here it is duckdb:" in said
    assert "datalayer/local: server: is started in a cluster; here everything runs in this process" in said
    assert "datalayer/local: compute: engine job, image without effect here: models run in local" in said
    assert "model/plus: compute: engine job, resources without effect outside a cluster" in said
    assert "10 of 10" in cli("get", "mdl").out
    assert "without effect" not in cli("apply", "-f", str(numbers)).out
    cli("delete", "-f", str(numbers))
    assert [path.name for path in Path(".superduper").iterdir() if path.name.startswith("local")] == []


def test_two_datalayers_live_in_one_home(cli: Cli, numbers: Path) -> None:
    cli("apply", "-f", str(numbers))
    second = f"{DATALAYER}---{TABLE}---{MODEL}".replace("local", "other").replace("rows.db", "more.db")
    second = second.replace("name: numbers", "name: numbers-2").replace("name: plus", "name: plus-2")
    second = second.replace("  datalayerRef", "  identifier: PLACE\n  datalayerRef")
    second = second.replace("PLACE", "numbers", 1).replace("PLACE", "plus", 1)
    (numbers / "second.yml").write_text(second)
    cli("apply", "-f", str(numbers / "second.yml"))
    cli("insert", "numbers-2", "--set", "id=only-here", "--set", "x=5")
    assert cli("query", "numbers-2", "--count").out.strip() == "11"
    assert cli("query", "numbers", "--count").out.strip() == "10"
    assert cli("query", "numbers", "--count", "-d", "other").out.strip() == "11"
    assert "choose one with -d" in cli("verify", code=1).err
    cli("verify", "-d", "other")


def test_a_secret_among_the_manifests_gives_the_uri(cli: Cli, numbers: Path) -> None:
    secret = "\napiVersion: v1\nkind: Secret\nmetadata: {name: db}\nstringData: {uri: 'sqlite://secret.db'}\n"
    from_secret = DATALAYER.replace('uri: "sqlite://rows.db"', "uriFrom: {secretKeyRef: {name: db, key: uri}}")
    (numbers / "all.yaml").write_text(f"{secret}---{from_secret}---{TABLE}")
    cli("apply", "-f", str(numbers))
    assert Path("secret.db").exists()
    assert cli("query", "numbers", "--count").out.strip() == "10"


def test_artifacts_are_listed_fetched_stored_collected_and_verified(cli: Cli, numbers: Path) -> None:
    (numbers / "all.yaml").write_text(DATALAYER + "---" + FILES)
    folder = numbers / "files" / "a"
    folder.mkdir(parents=True)
    (folder / "one.bin").write_bytes(b"one" * 100)
    cli("apply", "-f", str(numbers))
    row = json.loads(cli("query", "files", "--json").out)
    assert (row["id"], row["folder"], row["data"]["size"]) == ("a/one.bin", "a", 300)
    cli("artifact", "get", row["data"]["id"], "-o", "copy")
    assert Path("copy").read_bytes() == b"one" * 100
    assert row["data"]["id"] in cli("artifact", "ls").out
    stored = cli("artifact", "put", str(numbers / "files")).out.strip()
    assert stored.startswith("&:file:")
    assert "files/a/one.bin" in cli("artifact", "ls", stored).out
    copied = Path(cli("artifact", "checkout", stored, "out").out.strip())
    assert (copied / "a" / "one.bin").read_bytes() == b"one" * 100
    assert json.loads(cli("gc", "--window", "0s", "--dry-run", "--json").out)["removed"] > 0
    cli("gc", "--window", "0s")
    assert "as it was stored" in cli("verify").out
    damaged = next(path for path in Path(".superduper/artifacts").rglob(row["data"]["id"]))
    damaged.chmod(0o600)
    damaged.write_bytes(b"two" * 100)
    said = cli("verify", code=1).out
    assert row["data"]["id"] in said
    assert "needed by table 'files', row 'a/one.bin', field 'data'" in said
    assert "store the same bytes again (superduper artifact put FILE" in said
    told = json.loads(cli("verify", "--json", code=1).out)
    assert told["neededBy"] == [{"table": "files", "row": "a/one.bin", "field": "data"}]
    assert "set aside" in cli("verify", "--set-aside", code=1).out


def test_a_stored_file_is_fetched_as_its_bytes_and_of_a_folder_checkout_is_named(cli: Cli, numbers: Path) -> None:
    (numbers / "all.yaml").write_text(DATALAYER)
    cli("apply", "-f", str(numbers))
    Path("one.bin").write_bytes(b"one")
    stored = cli("artifact", "put", "one.bin", "--file").out.strip()
    for name in (stored, stored.rpartition(":")[2]):
        cli("artifact", "get", name, "-o", "copy")
        assert Path("copy").read_bytes() == b"one"
    folder = cli("artifact", "put", str(numbers)).out.strip()
    for name in (folder, folder.rpartition(":")[2]):
        said = cli("artifact", "get", name, "-o", "copy", code=1)
        assert "is the folder 'manifests': superduper artifact checkout " in said.err
    assert Path("copy").read_bytes() == b"one"


def test_links_in_a_folder_are_refused_or_kept_as_asked(cli: Cli, numbers: Path) -> None:
    (numbers / "all.yaml").write_text(DATALAYER)
    cli("apply", "-f", str(numbers))
    (numbers / "link").symlink_to("numbers.jsonl")
    assert "--symlinks keep" in cli("artifact", "put", str(numbers), code=1).err
    stored = cli("artifact", "put", str(numbers), "--symlinks", "keep").out.strip()
    copied = Path(cli("artifact", "checkout", stored, "out").out.strip())
    assert (copied / "link").readlink() == Path("numbers.jsonl")


def test_rows_of_a_database_without_manifests_are_reached_by_uri(cli: Cli) -> None:
    cli("insert", "notes", "--uri", "sqlite://notes.db", "-f", "-", stdin='{"id": "a", "x": 1}\n{"id": "b", "x": 2}\n')
    said = cli("query", "notes", '{"x": {"$gt": 1}}', "--uri", "sqlite://notes.db")
    assert "b    2" in said.out
