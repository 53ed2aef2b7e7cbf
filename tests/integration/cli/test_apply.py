"""``superduper apply`` and ``diff``, as a user sees them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.integration.cli.conftest import DATALAYER, MODEL, TABLE, Cli

PICKY = MODEL.replace("return x + 1", "return 10 // (x - 3)")


def test_apply_fills_the_table_runs_the_model_and_shows_conditions_coverage_and_rows(cli: Cli, numbers: Path) -> None:
    said = cli("apply", "-f", str(numbers))
    assert "table/numbers created: 10 rows added" in said.out
    assert "10 of 10 rows predicted" in said.out
    assert "→ PLUS" in said.out
    assert said.err == ""


def test_applied_again_nothing_changes_and_nothing_is_run(cli: Cli, numbers: Path) -> None:
    cli("apply", "-f", str(numbers))
    before = cli("get", "all", "-o", "json").out
    said = cli("apply", "-f", str(numbers))
    assert "nothing changed, nothing was run" in said.out
    assert cli("get", "all", "-o", "json").out == before


def test_one_changed_line_of_code_is_a_new_version_and_recomputes(cli: Cli, numbers: Path) -> None:
    cli("apply", "-f", str(numbers))
    file = numbers / "all.yaml"
    file.write_text(file.read_text().replace("x + 1", "x + 2"))
    said = cli("diff", "-f", str(numbers), code=1)
    assert "-          return x + 1" in said.out
    assert "+          return x + 2" in said.out
    assert "model/plus configured: predicted 10 rows" in cli("apply", "-f", str(numbers)).out
    model = json.loads(cli("get", "model", "plus", "-o", "json").out)
    assert (model["metadata"]["generation"], model["status"]["version"]) == (2, 1)
    row = json.loads(cli("query", "numbers", '{"x": 4}', "--outputs", "plus", "--json").out)
    assert row["_outputs"] == {"plus": 6}


def test_a_changed_source_adds_new_rows_replaces_changed_ones_and_keeps_the_rest(cli: Cli, numbers: Path) -> None:
    cli("apply", "-f", str(numbers))
    (numbers / "numbers.jsonl").write_text('{"id": "r1", "x": 100}\n{"id": "r2", "x": 2}\n{"id": "new", "x": 7}\n')
    said = cli("apply", "-f", str(numbers))
    assert "1 rows added, 1 replaced, 1 unchanged" in said.out
    assert "model/plus refreshed: predicted 2 rows" in said.out
    assert cli("query", "numbers", "--count").out.strip() == "11"
    row = json.loads(cli("query", "numbers", '{"id": "r1"}', "--outputs", "plus", "--json").out)
    assert row["_outputs"] == {"plus": 101}


def test_models_of_the_home_follow_a_table_that_is_applied_alone(cli: Cli, numbers: Path, tmp_path: Path) -> None:
    cli("apply", "-f", str(numbers))
    (numbers / "numbers.jsonl").write_text('{"id": "new", "x": 7}\n')
    alone = numbers / "table.yml"
    alone.write_text(TABLE)
    assert "model/plus refreshed: predicted 1 rows" in cli("apply", "-f", str(alone)).out


def test_an_inserted_row_is_predicted_alone(cli: Cli, numbers: Path) -> None:
    cli("apply", "-f", str(numbers))
    said = cli("insert", "numbers", "--set", "id=one", "--set", "x=41")
    assert "1 rows inserted (one)" in said.out
    assert "model/plus: predicted 1 rows" in said.out
    assert "11 of 11" in cli("get", "models").out


def test_rows_that_fail_make_the_model_partial_and_rerun_mends_them(cli: Cli, numbers: Path) -> None:
    (numbers / "all.yaml").write_text(f"{DATALAYER}---{TABLE}---{PICKY}")
    assert "Partial" in cli("apply", "-f", str(numbers)).out
    assert json.loads(cli("errors", "plus", "--json").out)["row"] == "r3"
    assert "ZeroDivisionError" in cli("describe", "model", "plus").out
    assert "1 failed" in cli("rerun", "plus", "--errors", code=1).out
    (numbers / "all.yaml").write_text(f"{DATALAYER}---{TABLE}---{MODEL}")
    cli("apply", "-f", str(numbers))
    assert "no row failed" in cli("errors", "plus").out
    assert "10 of 10" in cli("rerun", "plus").out


def test_what_failed_is_told_beside_what_was_predicted(cli: Cli, numbers: Path) -> None:
    (numbers / "all.yaml").write_text(f"{DATALAYER}---{TABLE}---{PICKY}")
    assert "predicted 9 rows, failed 1 (see superduper errors plus)" in cli("apply", "-f", str(numbers)).out
    bad, good = ["--set", "id=bad", "--set", "x=3"], ["--set", "id=good", "--set", "x=4"]
    said = cli("insert", "numbers", *bad, code=1)
    assert "1 rows inserted (bad)" in said.out
    assert "model/plus: predicted 0 rows, failed 1 (see superduper errors plus)" in said.out
    assert (
        "10 of 12 rows predicted, 2 failed" in cli("insert", "numbers", *good).out + cli("get", "mdl", "-o", "wide").out
    )
    text = '{"id": "a", "x": 3}\n{"id": "b", "x": 5}\n'
    told = json.loads(cli("insert", "numbers", "-f", "-", "--json", stdin=text, code=1).out)
    assert (told["inserted"], told["predicted"], told["failed"], told["errors"]) == (2, {"plus": 1}, {"plus": 1}, {})
    assert "predicted 0 rows, failed 3" in cli("rerun", "plus", "--errors", code=1).out


def test_a_file_of_rows_is_inserted_whole_or_not_at_all(
    cli: Cli, numbers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli("apply", "-f", str(numbers))
    lines = [f'{{"id": "n{number}", "x": {number}}}\n' for number in range(1000)]
    file = numbers / "many.jsonl"
    file.write_text("".join([*lines[:700], '{"id": "bad", "x": "many"}\n', *lines[700:]]))
    said = cli("insert", "numbers", "-f", str(file), code=1)
    assert said.err.startswith(f"error: {file}:701: field 'x': 'many' is no int")
    assert cli("query", "numbers", "--count").out.strip() == "10"
    file.write_text("".join(lines))
    with monkeypatch.context() as bound:
        bound.setattr("superduper.cli.insert.ROWS", 999)
        said = cli("insert", "numbers", "-f", str(file), code=1)
    assert "nothing was inserted: one insert takes at most 999 rows" in said.err
    assert cli("query", "numbers", "--count").out.strip() == "10"
    assert "model/plus: predicted 1,000 rows" in cli("insert", "numbers", "-f", str(file)).out
    assert "no rows in it" in cli("insert", "numbers", "-f", "-", code=1).err


def test_predict_names_the_model_the_row_and_the_line_that_failed(cli: Cli, numbers: Path) -> None:
    (numbers / "all.yaml").write_text(f"{DATALAYER}---{TABLE}---{PICKY}")
    cli("apply", "-f", str(numbers))
    asked = cli("predict", "plus", "3", code=1).err
    assert asked.startswith("error: model 'plus': ZeroDivisionError: ")
    assert "(line 2 of plus)" in asked
    assert cli("predict", "plus", "--row", "r3", code=1).err.startswith(
        "error: row 'r3' of table 'numbers': model 'plus'"
    )
    assert "TypeError" in (said := cli("predict", "plus", "1", "2", code=1).err)
    assert "it takes (x)" in said
    assert "fault of superduper" not in asked + said


def test_a_failing_object_has_its_reason_and_others_go_on(cli: Cli, numbers: Path) -> None:
    other = TABLE.replace("name: numbers", "name: other").replace("numbers.jsonl", "nowhere.jsonl")
    on_other = MODEL.replace("name: plus", "name: late").replace("table: numbers", "table: other")
    (numbers / "all.yaml").write_text(f"{DATALAYER}---{TABLE}---{other}---{MODEL}---{on_other}")
    said = cli("apply", "-f", str(numbers), code=1)
    assert "table/other failed: SourceFailed" in said.out
    assert "model/late failed: DependencyNotReady: Table 'other' is not ready" in said.out
    assert "10 of 10 rows predicted" in said.out
    assert "2 of 5 objects failed" in said.out


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        pytest.param("inputs: [x]", "inputs: [z]", "no field 'z'", id="a field that is not there"),
        pytest.param("table: numbers", "table: numbrs", "did you mean 'numbers'", id="a typing error in a reference"),
        pytest.param("callable: plus", "colour: red", "colour", id="an unknown field"),
        pytest.param("kind: Model", "kind: Modle", "did you mean 'Model'", id="an unknown kind"),
    ],
)
def test_a_broken_manifest_is_refused_whole_with_file_and_line(
    cli: Cli, numbers: Path, old: str, new: str, message: str
) -> None:
    file = numbers / "all.yaml"
    file.write_text(file.read_text().replace(old, new))
    said = cli("apply", "-f", str(numbers), code=1)
    assert said.err.startswith(f"error: {file}:")
    assert message in said.err
    assert not Path(".superduper").exists()


def test_code_that_raises_when_a_source_is_read_is_named(cli: Cli, numbers: Path) -> None:
    rows = TABLE.replace(
        'source: {uri: "file://./numbers.jsonl", format: jsonl}',
        "source:\n    rows:\n      source: |\n        def rows():\n          yield {'id': 'a', 'x': 1}\n"
        "          raise ValueError('no more')\n      callable: rows",
    )
    (numbers / "all.yaml").write_text(DATALAYER + "---" + rows)
    said = cli("apply", "-f", str(numbers), code=1)
    assert "SourceFailed" in said.out
    assert "ValueError: no more" in said.out


def test_manifests_come_from_standard_input(cli: Cli, numbers: Path) -> None:
    table = TABLE.replace("file://./numbers.jsonl", f"file://{numbers}/numbers.jsonl")
    cli("apply", "-f", "-", stdin=DATALAYER + "---" + table)
    assert "10" in cli("get", "tbl", "numbers").out


def test_dry_run_changes_nothing(cli: Cli, numbers: Path) -> None:
    said = cli("apply", "-f", str(numbers), "--dry-run")
    assert "model/plus created (dry run)" in said.out
    assert not Path(".superduper").exists()
    assert not Path("rows.db").exists()


def test_diff_says_nothing_and_exits_with_0_after_apply(cli: Cli, numbers: Path) -> None:
    assert "+kind: Model" in cli("diff", "-f", str(numbers), code=1).out
    cli("apply", "-f", str(numbers))
    assert cli("diff", "-f", str(numbers)).out == ""
    cli("diff", "-f", "nowhere.yaml", code=2)


def test_json_lines_tell_of_each_object(cli: Cli, numbers: Path) -> None:
    lines = [json.loads(line) for line in cli("apply", "-f", str(numbers), "--json").out.splitlines()]
    objects = [line for line in lines if line["event"] == "object"]
    assert [(line["kind"], line["ready"]) for line in objects] == [
        ("Datalayer", True),
        ("Table", True),
        ("Model", True),
    ]
    assert objects[-1]["status"]["predicted"] == 10


def test_what_get_shows_as_yaml_can_be_applied(cli: Cli, numbers: Path) -> None:
    cli("apply", "-f", str(numbers))
    text = cli("get", "all", "-o", "yaml").out
    assert "nothing changed, nothing was run" in cli("apply", "-f", "-", stdin=text).out


def test_a_suspended_model_is_not_run(cli: Cli, numbers: Path) -> None:
    file = numbers / "all.yaml"
    file.write_text(file.read_text() + "  suspend: true\n")
    assert "Suspended" in cli("apply", "-f", str(numbers)).out
    cli("insert", "numbers", "--set", "id=more", "--set", "x=1")
    model = json.loads(cli("get", "model", "plus", "-o", "json").out)
    assert model["status"]["conditions"][0]["reason"] == "Suspended"
    assert (model["status"]["rows"], model["status"]["predicted"]) == (11, 0)


def test_rows_inserted_into_a_table_whose_source_fails_do_not_make_it_ready(cli: Cli, numbers: Path) -> None:
    (numbers / "numbers.jsonl").unlink()
    cli("apply", "-f", str(numbers), code=1)
    cli("insert", "numbers", "--set", "id=more", "--set", "x=1")
    table = json.loads(cli("get", "table", "numbers", "-o", "json").out)
    assert (table["status"]["rows"], table["status"]["conditions"][0]["reason"]) == (1, "SourceFailed")


def test_a_model_that_is_trained_waits_for_rows_and_is_trained_with_the_first_insert(cli: Cli, numbers: Path) -> None:
    table = TABLE.replace('  source: {uri: "file://./numbers.jsonl", format: jsonl}\n', "")
    trained = (
        MODEL.replace("def plus(x):", "def plus(largest, x):")
        .replace("x + 1", "largest - x")
        .replace(
            "  predict:",
            "  training:\n    table: numbers\n    inputs: [x]\n    object: {source: 'fit = lambda x: max(x)', callable: fit}\n"
            "  predict:",
        )
    )
    (numbers / "all.yaml").write_text(f"{DATALAYER}---{table}---{trained}")
    assert "waits for rows" in cli("apply", "-f", str(numbers)).out
    (numbers / "more.jsonl").write_text('{"id": "a", "x": 1}\n{"id": "b", "x": 5}\n')
    assert "trained; predicted 2 rows" in cli("insert", "numbers", "-f", str(numbers / "more.jsonl")).out
    assert cli("predict", "plus", "--row", "a").out.strip() == "4"
