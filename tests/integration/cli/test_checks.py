"""What is told of manifests before any work is done: with file and line, and with nothing changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from superduper import Metric, superduper
from tests.integration.cli.conftest import DATALAYER, MODEL, TABLE, Cli

VALIDATED = MODEL + "  validation: {table: numbers, target: x, metrics: [mse, acuracy]}\n"
DATATYPE = """
apiVersion: superduper.io/v1alpha1
kind: DataType
metadata: {name: odd}
spec:
  datalayerRef: {name: local}
  encoder:
    source: |
      import json

      def encode(x)
          return json.dumps(x).encode()
    callable: encode
"""
IMAGE = """
apiVersion: superduper.io/v1alpha1
kind: DataType
metadata: {name: picture}
spec:
  datalayerRef: {name: local}
  codec: image
  info:
    format: GIFF
"""


def line_of(file: Path, text: str) -> int:
    """Line of the only place where the text stands."""
    [found] = [number for number, line in enumerate(file.read_text().splitlines(), 1) if text in line]
    return found


@pytest.mark.parametrize(
    ("old", "new", "field", "message"),
    [
        pytest.param(
            'databackend: {uri: "sqlite://rows.db"}', 'databackend: {uri: "sqllite://rows.db"}',
            "spec.databackend.uri", "no databackend for sqllite://; did you mean 'sqlite'?", id="a database",
        ),
        pytest.param(
            '"sqlite://rows.db"}}', '"sqlite://rows.db"}, artifactStore: {uri: "filesytem://./x"}}',
            "spec.artifactStore.uri", "no artifact store for filesytem://; did you mean 'filesystem'?", id="an artifact store",
        ),
        pytest.param(
            "file://./numbers.jsonl", "http://h/numbers.jsonl",
            "spec.source.uri", "http://h/numbers.jsonl: a source is read from file:// or s3://", id="a source",
        ),
    ],
)  # fmt: skip
def test_an_unknown_scheme_is_refused_where_it_stands(
    cli: Cli, numbers: Path, old: str, new: str, field: str, message: str
) -> None:
    file = numbers / "all.yaml"
    file.write_text(file.read_text().replace(old, new))
    for words, code in ((("apply",), 1), (("apply", "--dry-run"), 1), (("diff",), 2)):
        said = cli(*words, "-f", str(numbers), code=code)
        assert said.err.startswith(f"error: {file}:{line_of(file, new)}: {field}: {message}"), words
    assert not Path(".superduper").exists()


@pytest.mark.parametrize(
    ("old", "new", "at", "field", "message"),
    [
        pytest.param(
            "def plus(x):", "def plus(x)", "def plus(x)", "spec.object.source", "expected ':'", id="no Python"
        ),
        pytest.param(
            "          return x + 1", "          return x + 1\n      import no_such_thing", "import no_such_thing",
            "spec.object.source", "ModuleNotFoundError: No module named 'no_such_thing'", id="a missing import",
        ),
        pytest.param(
            "callable: plus", "callable: pluss", "callable: pluss",
            "spec.object.callable", "the source defines no 'pluss'; did you mean 'plus'?", id="a name",
        ),
        pytest.param(
            "  predict:", "  validation: {table: numbers, target: x, metrics: [{name: own, object: {module: no.such, "
            "callable: f}}]}\n  predict:", "module: no.such", "spec.validation.metrics[0].object.module",
            "no module 'no'; install it or correct the name 'no.such'", id="a metric's module",
        ),
    ],
)  # fmt: skip
def test_code_that_does_not_load_is_refused_on_its_line_before_a_row_is_read(
    cli: Cli, numbers: Path, old: str, new: str, at: str, field: str, message: str
) -> None:
    file = numbers / "all.yaml"
    file.write_text(file.read_text().replace(old, new))
    said = cli("apply", "-f", str(numbers), code=1)
    assert said.err.strip() == f"error: {file}:{line_of(file, at)}: {field}: {message}"
    assert said.out == ""
    assert not Path("rows.db").exists()


def test_code_of_a_file_beside_is_told_with_its_own_line(cli: Cli, numbers: Path) -> None:
    file = numbers / "all.yaml"
    block = "    source: |\n      def plus(x):\n          return x + 1\n"
    file.write_text(file.read_text().replace(block, "    sourceFrom: {configMapKeyRef: {name: code, key: plus.py}}\n"))
    (numbers / "plus.py").write_text("a = 1\ndef plus(x)\n")
    said = cli("apply", "-f", str(numbers), code=1)
    assert f"{file}:{line_of(file, 'sourceFrom')}: spec.object.sourceFrom: plus.py: line 2: expected ':'" in said.err


def test_a_dry_run_runs_no_code_but_sees_its_syntax(cli: Cli, numbers: Path) -> None:
    file = numbers / "all.yaml"
    text = file.read_text()
    file.write_text(text.replace("      def plus", "      open('touched', 'w').close()\n      def plus"))
    cli("apply", "-f", str(numbers), "--dry-run")
    assert not Path("touched").exists()
    file.write_text(text.replace("return x + 1", "return x +"))
    assert "spec.object.source: invalid syntax" in cli("apply", "-f", str(numbers), "--dry-run", code=1).err


def test_a_data_type_whose_code_is_no_python_is_refused_on_its_line(cli: Cli, numbers: Path) -> None:
    file = numbers / "all.yaml"
    file.write_text(DATALAYER + "---" + DATATYPE)
    said = cli("apply", "-f", str(numbers), code=1)
    assert said.err.strip() == (
        f"error: {file}:{line_of(file, 'def encode(x)')}: spec.encoder.source: expected ':'"
    )  # fmt: skip


def test_an_image_format_that_is_none_is_refused_on_its_line(cli: Cli, numbers: Path) -> None:
    file = numbers / "all.yaml"
    file.write_text(DATALAYER + "---" + IMAGE)
    said = cli("apply", "-f", str(numbers), code=1)
    assert f"{file}:{line_of(file, 'GIFF')}: spec.info.format: no image format 'GIFF'; did you mean 'GIF'?" in said.err
    file.write_text(DATALAYER + "---" + IMAGE.replace("GIFF", "jpeg"))
    cli("apply", "-f", str(numbers))


def test_a_metric_that_is_none_is_refused_before_anything_is_trained(cli: Cli, numbers: Path) -> None:
    file = numbers / "all.yaml"
    file.write_text(f"{DATALAYER}---{TABLE}---{VALIDATED}")
    said = cli("apply", "-f", str(numbers), code=1)
    place = f"{file}:{line_of(file, 'acuracy')}: spec.validation.metrics[1]"
    assert said.err.startswith(f"error: {place}: no metric 'acuracy'; did you mean 'accuracy'?")
    assert not Path("rows.db").exists()


def test_a_metric_that_was_applied_from_python_is_known(cli: Cli, numbers: Path) -> None:
    with superduper("sqlite://rows.db", home=".superduper") as db:
        db.apply(Metric("acuracy", lambda targets, predictions: 0.5))
    (numbers / "all.yaml").write_text(f"{DATALAYER}---{TABLE}---{VALIDATED}")
    cli("apply", "-f", str(numbers))
    model = json.loads(cli("get", "model", "plus", "-o", "json").out)
    assert model["status"]["metrics"]["acuracy"] == 0.5


def test_an_identifier_cannot_be_changed(cli: Cli, numbers: Path) -> None:
    cli("apply", "-f", str(numbers))
    file = numbers / "all.yaml"
    text = file.read_text()
    file.write_text(text.replace("  predict:", "  identifier: plus_2\n  predict:"))
    said = cli("apply", "-f", str(numbers), code=1)
    assert said.err.strip() == (
        f"error: {file}:{line_of(file, 'plus_2')}: spec.identifier: Model 'plus' has the identifier 'plus', which cannot "
        "be changed; keep it, or first: superduper delete model plus"
    )
    with superduper("sqlite://rows.db", home=".superduper") as db:
        assert db.show("listener") == ["plus"]
    cli("delete", "model", "plus")
    cli("apply", "-f", str(numbers))


def test_an_object_cannot_be_renamed_while_the_other_is_there(cli: Cli, numbers: Path) -> None:
    cli("apply", "-f", str(numbers))
    file = numbers / "all.yaml"
    file.write_text(
        file.read_text().replace("{name: plus}", "{name: more}").replace("  object:", "  identifier: plus\n  object:")
    )
    said = cli("apply", "-f", str(numbers), code=1)
    assert (
        "Model 'plus' is the object 'plus' already; keep that name, or first: superduper delete model plus" in said.err
    )


def test_an_object_cannot_be_moved_to_another_datalayer(cli: Cli, numbers: Path) -> None:
    cli("apply", "-f", str(numbers))
    file = numbers / "all.yaml"
    other = DATALAYER.replace("name: local", "name: other").replace("rows.db", "others.db")
    moved = TABLE.replace("{name: local}", "{name: other}")
    file.write_text(f"{DATALAYER}---{other}---{moved}")
    said = cli("apply", "-f", str(numbers), code=1)
    assert "spec.datalayerRef.name: Table 'numbers' is in the Datalayer 'local' and cannot be moved" in said.err
    assert f"{file}:" in said.err
    assert not Path("others.db").exists()


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "---\n---\n"])
def test_manifests_without_an_object_are_an_error(cli: Cli, tmp_path: Path, text: str) -> None:
    file = tmp_path / "empty.yaml"
    file.write_text(text)
    message = "no objects passed: there is no Datalayer, DataType, Table, Model in "
    assert cli("apply", "-f", str(file), code=1).err == f"error: {message}{file}\n"
    assert cli("apply", "-f", "-", stdin=text, code=1).err == f"error: {message}<stdin>\n"


def test_a_source_that_fails_in_the_middle_says_what_is_in_the_table(cli: Cli, numbers: Path) -> None:
    lines = [f'{{"id": "r{n}", "x": {n}}}' for n in range(600)]
    lines[550] = '{"id": "r550", "x": "text"}'
    (numbers / "numbers.jsonl").write_text("\n".join(lines))
    said = cli("apply", "-f", str(numbers), code=1)
    assert f"{numbers}/numbers.jsonl:551" in said.out
    assert "; the 500 rows before are in the table" in said.out
    assert cli("query", "numbers", "--count").out.strip() == "500"


def test_what_was_run_again_is_not_called_unchanged(cli: Cli, numbers: Path) -> None:
    cli("apply", "-f", str(numbers))
    with (numbers / "numbers.jsonl").open("a") as file:
        file.write('{"id": "new", "x": 7}\n')
    lines = [json.loads(line) for line in cli("apply", "-f", str(numbers), "--json").out.splitlines()]
    did = {line["kind"]: (line["did"], line["ran"]) for line in lines if line["event"] == "object"}
    assert did == {
        "Datalayer": ("unchanged", ""),
        "Table": ("refreshed", "1 rows added, 0 replaced, 10 unchanged"),
        "Model": ("refreshed", "predicted 1 rows"),
    }
    for words in (("apply", "-f", str(numbers)), ("describe", "model", "plus")):
        assert '""' not in cli(*words).out
