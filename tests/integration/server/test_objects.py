"""Objects as the operator hands them over: applied once, done in the background, told truly, kept over restarts."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.integration.server.conftest import Serve
from tests.integration.server.served import DOUBLE, Served, code, condition, manifest, rows_of, wait_for

T = {"fields": {"x": {"type": "int"}}}


def test_a_source_is_read_and_a_model_follows_without_being_asked(server: Served) -> None:
    told = server.put("Table", "t", **T, source=rows_of(1200)).json()
    assert (condition(told)["reason"], condition(told, "Reconciling")["status"]) == ("Ingesting", "True")
    server.put("Model", "m", **DOUBLE)
    table = server.until("Table", "t", "Available")
    assert (table["status"]["rows"], table["work"]) == (1200, None)
    assert table["status"]["syncedAt"]
    model = wait_for("all rows", lambda: (m := server.told("Model", "m"))["status"].get("predicted") == 1200 and m)
    assert condition(model) | {"lastTransitionTime": ""} == {
        "type": "Ready", "status": "True", "reason": "Available", "message": "1,200 of 1,200 rows predicted",
        "observedGeneration": 1, "lastTransitionTime": "",
    }  # fmt: skip
    assert (model["status"]["coverage"], model["status"]["pending"], model["work"]) == ("1200/1200", 0, None)
    assert "pendingSince" not in model["status"]


def test_the_same_object_again_does_nothing_and_a_changed_one_is_applied(server: Served) -> None:
    server.put("Table", "t", **T, source=rows_of(3))
    server.until("Table", "t", "Available")
    first = server.told("Table", "t")
    assert server.put("Table", "t", **T, source=rows_of(3)).json() == first
    assert server.client.get("/v1/info").json()["objects"]["Table/t"] == first["revision"]

    server.put("Table", "t", **T, source=rows_of(5))
    told = wait_for("five rows", lambda: (t := server.told("Table", "t"))["status"].get("rows") == 5 and t)
    assert told["status"]["observedGeneration"] == 2
    assert told["revision"] != first["revision"]


def test_new_rows_and_new_code_are_predicted(server: Served) -> None:
    server.put("Table", "t", **T)
    server.put("Model", "m", **DOUBLE)
    server.insert("t", {"id": "a", "x": 1})

    def outputs() -> dict[str, Any]:
        return {row["id"]: row["_outputs"]["m"] for row in server.rows("t", outputs="m")}

    wait_for("the first output", lambda: outputs() == {"a": 2})
    server.insert("t", {"id": "b", "x": 5})
    wait_for("the second", lambda: outputs() == {"a": 2, "b": 10})
    server.client.post("/v1/tables/t/query", json={"update": {"filter": {"id": "a"}, "update": {"$set": {"x": 7}}}})
    wait_for("the changed one", lambda: outputs() == {"a": 14, "b": 10})
    server.put("Model", "m", object=code("def f(x):\n    return -x\n"), predict=DOUBLE["predict"])
    wait_for("the new code's", lambda: outputs() == {"a": -7, "b": -5})


def test_a_restart_keeps_all_and_reads_nothing_again(server: Served) -> None:
    server.put("Table", "t", **T, source=rows_of(50))
    server.put("Model", "m", **DOUBLE)
    wait_for("outputs", lambda: server.told("Model", "m")["status"].get("predicted") == 50)
    before = server.client.get("/v1/objects").json()
    jobs = server.client.get("/metrics").text
    assert server.stop() == 0

    server.again()
    assert server.client.get("/v1/objects").json() == before
    for _ in range(3):
        scans = server.told("Table", "t")
    assert scans == before["Table/t"]
    assert 'superduper_background_runs_total{kind="Table"' not in server.client.get("/metrics").text
    assert 'superduper_background_runs_total{kind="Table"' in jobs


def test_a_source_is_read_again_on_schedule_and_stays_ready(server: Served) -> None:
    body = "def f():\n    import pathlib\n    yield from ({'id': l, 'x': 1} for l in pathlib.Path('rows.txt').read_text().split())\n"
    (server.folder / "rows.txt").write_text("a")
    server.put("Table", "t", **T, source={"rows": code(body), "every": "1s"})
    server.until("Table", "t", "Available")
    (server.folder / "rows.txt").write_text("a b")
    told = wait_for("two rows", lambda: (t := server.told("Table", "t"))["status"].get("rows") == 2 and t)
    assert condition(told)["status"] == "True"


@pytest.mark.parametrize(
    ("kind", "name", "body", "status", "field", "says"),
    [
        ("Table", "t", {"kind": "Model"}, 422, "kind", "'Table' in the path"),
        ("Table", "t", {"metadata": {"name": "u"}}, 422, "metadata.name", "'t' in the path"),
        ("Table", "t", {"spec": {"feilds": {}}}, 422, "spec.feilds", "did you mean 'fields'"),
        ("Table", "t", {"spec": {}}, 422, None, "datalayerRef"),
        ("Datalayer", "t", {}, 404, None, "no kind 'Datalayer'"),
        ("Tabel", "t", {}, 404, None, "did you mean 'Table'"),
    ],
)
def test_what_is_no_such_object_is_refused_by_its_field(
    shared: Served, kind: str, name: str, body: dict[str, Any], status: int, field: str | None, says: str
) -> None:
    answer = shared.client.put(f"/v1/objects/{kind}/{name}", json={**manifest("Table", "t", {}), **body})
    assert answer.status_code == status, answer.text
    assert says in answer.json()["message"]
    assert answer.json()["field"] == field


def test_a_configmap_is_to_be_resolved_by_whoever_sends_the_object(shared: Served) -> None:
    reference = {"sourceFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}, "callable": "f"}
    answer = shared.put("Model", "m", object=reference)
    assert (answer.status_code, answer.json()["field"]) == (422, "spec.object.sourceFrom")


def test_what_an_object_needs_may_come_later(server: Served) -> None:
    told = server.put("Table", "t", fields={"p": {"dataType": "raw"}}).json()
    assert (condition(told)["reason"], condition(told, "Stalled")["status"]) == ("DependencyNotReady", "True")
    assert "raw" in condition(told)["message"]
    server.put("DataType", "raw", codec="bytes")
    server.until("Table", "t", "Available")


def test_a_mistake_is_told_as_the_embedded_apply_tells_it_and_heals(server: Served) -> None:
    told = server.put("Model", "m", object=code("def f(x)\n    return x\n")).json()
    assert condition(told, "Stalled")["reason"] == "CodeFailed"
    assert "line 1" in condition(told)["message"]
    server.put("Table", "t", **T, source=rows_of(3, body="{'id': str(n), 'x': 1 // (1 - n)}"))
    table = server.until("Table", "t", "SourceFailed")
    assert "ZeroDivisionError" in condition(table)["message"]
    server.put("Table", "t", **T, source=rows_of(3))
    server.until("Table", "t", "Available")
    server.put("Model", "m", **DOUBLE)
    server.until("Model", "m", "Available")


def test_rows_that_fail_are_told_and_tried_again_when_asked(server: Served) -> None:
    server.put("Table", "t", **T, source=rows_of(20))
    source = "import pathlib\ndef f(x):\n    if x == 7 and not pathlib.Path('mended').exists():\n        raise ValueError('seven')\n    return x\n"
    server.put("Model", "m", object=code(source), predict=DOUBLE["predict"])
    told = server.until("Model", "m", "Partial")
    assert (told["status"]["failed"], told["status"]["predicted"]) == (1, 19)
    errors = server.client.get("/v1/models/m/errors").json()
    assert [(e["row"], "seven" in e["error"]) for e in errors["errors"]] == [("7", True)]
    assert errors["more"] is False

    (server.folder / "mended").touch()
    assert server.client.post("/v1/objects/Model/m/run", json={"retry": True}).status_code == 202
    assert server.until("Model", "m", "Available")["status"]["predicted"] == 20


def test_training_that_fails_is_told_and_not_tried_again_for_nothing(server: Served) -> None:
    server.put("Table", "t", **T, source=rows_of(20))
    server.until("Table", "t", "Available")
    training = {"table": "t", "inputs": ["x"], "object": code("def f(x):\n    raise ValueError('bad data')\n")}
    server.put("Model", "m", training=training, predict=DOUBLE["predict"])
    told = server.until("Model", "m", "TrainingFailed")
    assert "bad data" in condition(told)["message"]
    assert told["work"]["training"] is True
    key = told["work"]["key"]
    runs = 'superduper_background_runs_total{kind="Model",result="failed"}'

    def failed() -> float:
        lines = server.client.get("/metrics").text.splitlines()
        return float(next(line.split()[-1] for line in lines if line.startswith(runs)))

    count = failed()
    deadline = time.monotonic() + 1.5
    while time.monotonic() < deadline:
        assert server.told("Model", "m")["work"]["key"] == key
    assert failed() == count

    mended = {**training, "object": code("def f(x):\n    return lambda y: y + max(x)\n")}
    server.put("Model", "m", training=mended, predict=DOUBLE["predict"])
    told = wait_for("outputs", lambda: (m := server.told("Model", "m"))["status"].get("predicted") == 20 and m)
    assert told["status"]["artifact"]


def test_a_model_is_measured_after_it_is_trained_and_again_when_rows_come(server: Served) -> None:
    server.put("Table", "t", **T)
    server.put(
        "Model", "m", **DOUBLE, validation={"table": "t", "inputs": ["x"], "target": "x", "metrics": ["accuracy"]}
    )
    server.insert("t", {"id": "a", "x": 0})
    wait_for("accuracy 1", lambda: server.told("Model", "m")["status"].get("metrics") == {"accuracy": 1.0})
    server.insert("t", {"id": "b", "x": 1})
    wait_for("accuracy 0.5", lambda: server.told("Model", "m")["status"].get("metrics") == {"accuracy": 0.5})
    assert server.client.post("/v1/models/m/validate").json() == {"metrics": {"accuracy": 0.5}}


def test_where_jobs_do_the_work_the_server_says_so_and_does_only_small_backlogs(serve: Serve) -> None:
    server = serve(COMPUTE="auto").ready()
    server.put("Table", "t", **T, source=rows_of(30))
    server.until("Table", "t", "Available")
    told = server.put("Model", "m", **DOUBLE).json()
    assert told["work"] | {"key": ""} == {
        "key": "", "training": False, "predicting": 30, "validating": False, "by": "job",
    }  # fmt: skip
    assert (condition(told)["reason"], len(told["work"]["key"])) == ("Predicting", 16)
    assert told["status"]["pendingSince"]

    # What `superduper work` does in a job, past the server.
    job = (
        "from superduper import superduper\n"
        f"db = superduper({server.settings['DATABACKEND']!r}, artifact_store={server.settings['ARTIFACT_STORE']!r},"
        f" home={server.settings['HOME']!r}, defer=True)\ndb.run('m')\ndb.close()\n"
    )
    import subprocess
    import sys

    subprocess.run([sys.executable, "-c", job], check=True)
    wait_for("the job's outputs", lambda: server.told("Model", "m")["status"].get("predicted") == 30)
    assert server.told("Model", "m")["work"] is None

    # It is known by now that a row takes next to nothing.
    server.insert("t", {"id": "new", "x": 100})
    wait_for("the new row's output", lambda: server.told("Model", "m")["status"].get("predicted") == 31)
    # New code: nobody knows how long it takes.
    other = server.put("Model", "m", object=code("def f(x):\n    return x\n"), predict=DOUBLE["predict"]).json()
    assert other["work"]["by"] == "job"
    assert other["work"]["key"] != told["work"]["key"]


def test_a_job_that_failed_is_seen_in_the_record_of_jobs(serve: Serve) -> None:
    server = serve(COMPUTE="job").ready()
    server.put("Table", "t", **T, source=rows_of(30))
    server.until("Table", "t", "Available")
    server.put("Model", "m", object=code("def f(x):\n    raise ValueError('no')\n"), predict=DOUBLE["predict"])
    from superduper import superduper
    from superduper.errors import ModelError

    uri, artifacts = server.settings["DATABACKEND"], server.settings["ARTIFACT_STORE"]
    with (
        superduper(uri, artifact_store=artifacts, home=str(server.folder), defer=True) as db,
        pytest.raises(ModelError),
    ):
        db.run("m")
    told = server.until("Model", "m", "PredictionFailed")
    assert told["work"]["by"] == "job"
    again = server.client.post("/v1/objects/Model/m/run", json={}).json()
    assert again["work"]["key"] != told["work"]["key"]
    assert condition(again)["reason"] == "Predicting"


def test_what_is_needed_is_not_removed_and_policy_decides_about_data(server: Served) -> None:
    server.put("Table", "t", **T, source=rows_of(3))
    server.put("Model", "m", **DOUBLE)
    wait_for("outputs", lambda: server.told("Model", "m")["status"].get("predicted") == 3)
    answer = server.client.delete("/v1/objects/Table/t")
    assert (answer.status_code, answer.json()["code"]) == (409, "InUse")
    assert "Model 'm'" in answer.json()["message"]
    assert server.client.delete("/v1/objects/Model/m").json() == {"removed": "Model/m"}
    assert server.client.delete("/v1/objects/Model/m").status_code == 404
    server.client.delete("/v1/objects/Table/t").raise_for_status()
    assert server.client.get("/v1/objects").json() == {}

    server.put("Table", "t", **T)
    assert server.until("Table", "t", "Available")["status"]["rows"] == 3
    server.client.delete("/v1/objects/Table/t?policy=Delete").raise_for_status()
    server.put("Table", "t", **T)
    assert server.until("Table", "t", "Available")["status"]["rows"] == 0
    assert server.client.delete("/v1/objects/Table/t?policy=Shred").status_code == 422


def test_an_object_that_is_being_filled_can_be_removed(server: Served) -> None:
    server.put("Table", "t", **T, source=rows_of(100_000, before="n % 500 or time.sleep(0.05)"))
    wait_for("some rows", lambda: server.told("Table", "t")["status"].get("rows", 0) > 0)
    server.client.delete("/v1/objects/Table/t").raise_for_status()
    assert server.client.get("/v1/objects/Table/t").status_code == 404


def test_names_may_differ_from_identifiers_which_stay(server: Served) -> None:
    server.put("Table", "my-docs", identifier="my_docs", **T).raise_for_status()
    server.insert("my-docs", {"id": "a", "x": 1}).raise_for_status()
    assert server.rows("my-docs") == server.rows("my_docs")
    answer = server.put("Table", "my-docs", identifier="other", **T)
    assert (answer.status_code, answer.json()["field"]) == (422, "spec.identifier")
    answer = server.put("Table", "others", identifier="my_docs", **T)
    assert (answer.status_code, answer.json()["field"]) == (422, "spec.identifier")


def test_suspended_models_wait(server: Served) -> None:
    server.put("Table", "t", **T, source=rows_of(3))
    server.until("Table", "t", "Available")
    told = server.put("Model", "m", **DOUBLE, suspend=True).json()
    assert (condition(told)["reason"], told["work"]) == ("Suspended", None)
    server.put("Model", "m", **DOUBLE)
    wait_for("outputs", lambda: server.told("Model", "m")["status"].get("predicted") == 3)


def test_a_manual_model_runs_when_asked(server: Served) -> None:
    server.put("Table", "t", **T, source=rows_of(3))
    server.until("Table", "t", "Available")
    told = server.put("Model", "m", object=DOUBLE["object"], predict={**DOUBLE["predict"], "trigger": "Manual"}).json()
    assert (told["work"], told["status"]["pending"]) == (None, 3)
    server.client.post("/v1/objects/Model/m/run").raise_for_status()
    wait_for("outputs", lambda: server.told("Model", "m")["status"].get("predicted") == 3)
    assert server.client.post("/v1/objects/Model/nope/run").status_code == 404


def test_a_change_that_leaves_the_source_alone_reads_nothing_again(server: Served) -> None:
    counted = "import pathlib\ndef f():\n    with open('reads', 'a') as file:\n        file.write('r')\n    yield {'id': 'a', 'x': 1}\n"
    server.put("Table", "t", **T, source={"rows": code(counted)})
    server.until("Table", "t", "Available")
    server.put("Table", "t", **T, source={"rows": code(counted)}, deletionPolicy="Delete")
    told = wait_for(
        "the second generation",
        lambda: (t := server.until("Table", "t", "Available"))["status"]["observedGeneration"] == 2 and t,
    )
    assert told["status"]["rows"] == 1
    assert (server.folder / "reads").read_text() == "r"


def test_rows_written_past_it_are_found_when_asked(server: Served) -> None:
    import sqlite3

    server.put("Table", "t", **T, source=rows_of(3))
    server.put("Model", "m", **DOUBLE)
    wait_for("outputs", lambda: server.told("Model", "m")["status"].get("predicted") == 3)
    with sqlite3.connect(server.folder / "d.db", timeout=20) as past:
        past.execute("UPDATE t SET x = 50 WHERE id = '1'")
    past.close()
    server.client.post("/v1/objects/Model/m/run", json={"full": True}).raise_for_status()
    wait_for("the new output", lambda: server.rows("t", filter='{"id": "1"}', outputs="m")[0]["_outputs"] == {"m": 100})


def test_a_model_that_could_do_nothing_with_some_rows_is_tried_again_with_others(server: Served) -> None:
    server.put("Table", "t", **T)
    server.put("Model", "m", object=code("def f(x):\n    return 10 // x\n"), predict=DOUBLE["predict"])
    server.insert("t", {"id": "a", "x": 0})
    server.until("Model", "m", "PredictionFailed")
    server.insert("t", {"id": "b", "x": 5})
    told = server.until("Model", "m", "Partial")
    assert (told["status"]["predicted"], told["status"]["failed"]) == (1, 1)
