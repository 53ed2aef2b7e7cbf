"""The datalayer as a user sees it: what is computed when, what is kept, what is refused."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from superduper import Datalayer, DataType, Listener, Metric, Model, ObjectModel, Table, superduper
from superduper.api.v1alpha1 import Code
from superduper.api.v1alpha1 import Model as ModelObject
from superduper.api.v1alpha1.model import Predict, Training, Validation
from superduper.errors import CodeError, ConfigError, InUse, ModelError, NotFound, QueryError, SuperduperError

CALLS: list[Any] = []


@pytest.fixture(autouse=True)
def _no_calls() -> None:
    CALLS.clear()


def counted(x: Any) -> Any:
    import sys

    # Loaded code has globals of its own.
    sys.modules["tests.unit.test_datalayer"].CALLS.append(x)
    return x * 10


def open_at(folder: Path, **options: Any) -> Datalayer:
    return superduper(
        f"sqlite:///{folder}/d.db", artifact_store=f"filesystem://{folder}/artifacts", home=str(folder), **options
    )


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Datalayer]:
    with open_at(tmp_path) as db:
        yield db


@pytest.fixture
def rows(db: Datalayer) -> Datalayer:
    db.apply(Table("t", fields={"x": "int", "y": "int", "s": "str"}))
    db["t"].insert_many([{"id": f"r{n}", "x": n, "y": -n, "s": "s"} for n in range(10)]).execute()
    return db


def outputs(db: Datalayer, name: str = "m") -> dict[str, Any]:
    return {row["id"]: row["_outputs"][name] for row in db["t"].outputs(name).execute()}


@pytest.mark.parametrize(
    ("key", "expected"),
    [("x", 3), (("x", "y"), 0), ({"x": "y"}, -3), ((("x",), {"y": "y"}), 0)],
    ids=["one", "positions", "names", "both"],
)
def test_a_key_is_written_in_four_ways(rows: Datalayer, key: Any, expected: int) -> None:
    rows.apply(Listener(ObjectModel("m", object=lambda x, y=0: x + y), key=key, select=rows["t"]))
    assert outputs(rows)["r3"] == expected
    assert rows.load("listener", "m").inputs == rows.load("listener", "m").inputs


@pytest.mark.parametrize("key", [(), 3, [["x"]], None, {}])
def test_any_other_key_is_refused(rows: Datalayer, key: Any) -> None:
    with pytest.raises((ConfigError, SuperduperError, ValueError)):
        rows.apply(Listener(ObjectModel("m", object=lambda x: x), key=key, select=rows["t"]))
    assert rows.show("listener") == []


def test_a_column_that_is_no_input_runs_nothing_when_it_changes(rows: Datalayer) -> None:
    rows.apply(Listener(ObjectModel("m", object=counted), key="x", select=rows["t"]))
    CALLS.clear()
    ids, jobs = rows["t"].update_many({}, {"$set": {"s": "other"}}).execute()
    assert (len(ids), jobs, CALLS) == (10, [], [])


def test_a_changed_input_recomputes_its_row_only(rows: Datalayer) -> None:
    rows.apply(Listener(ObjectModel("m", object=counted), key="x", select=rows["t"]))
    CALLS.clear()
    _, jobs = rows["t"].update_one({"id": "r3"}, {"$set": {"x": 100}}).execute()
    assert CALLS == [100]
    assert [job.rows for job in jobs] == [1]
    assert outputs(rows)["r3"] == 1000


def test_an_input_set_to_what_it_was_is_kept_without_a_call(rows: Datalayer) -> None:
    rows.apply(Listener(ObjectModel("m", object=counted), key="x", select=rows["t"]))
    CALLS.clear()
    rows["t"].update_one({"id": "r3"}, {"$set": {"x": 3}}).execute()
    rows["t"].replace_one({"id": "r4"}, {"x": 4, "y": 9}).execute()
    assert CALLS == []
    assert outputs(rows) == {f"r{n}": n * 10 for n in range(10)}


def test_one_more_row_is_predicted_alone(rows: Datalayer) -> None:
    rows.apply(Listener(ObjectModel("m", object=counted), key="x", select=rows["t"]))
    CALLS.clear()
    rows["t"].insert_one({"id": "new", "x": 5}).execute()
    assert CALLS == [5]


def test_deleted_rows_take_their_results_with_them(rows: Datalayer) -> None:
    rows.apply(Listener(ObjectModel("m", object=counted), key="x", select=rows["t"]))
    rows["t"].delete_many({"x": {"$lt": 5}}).execute()
    assert rows["_outputs__m"].count_documents().execute() == 5
    assert rows.coverage("m").pending == 0


def test_a_changed_line_of_code_is_a_new_version_and_recomputes(rows: Datalayer) -> None:
    rows.apply(Listener(ObjectModel("m", object=lambda x: x + 1), key="x", select=rows["t"]))
    rows.apply(Listener(ObjectModel("m", object=lambda x: x + 2), key="x", select=rows["t"]))
    assert rows.show("model", "m") == [0, 1]
    assert outputs(rows)["r3"] == 5
    assert rows.load("model", "m", 0).predict(3) == 4
    assert rows.load("model", "m").predict(3) == 5


def test_another_process_of_the_same_code_recomputes_nothing(rows: Datalayer, tmp_path: Path) -> None:
    kind = DataType("out", encoder=lambda x: str(x).encode(), decoder=int, encodable="artifact")
    rows.apply(Listener(ObjectModel("m", object=counted, datatype=kind), key="x", select=rows["t"]))
    CALLS.clear()
    with open_at(tmp_path) as other:
        assert other.run("m") == []
        other["t"].insert_one({"id": "new", "x": 7}).execute()
        assert outputs(other)["r3"] == 30
        assert outputs(other)["new"] == 70
        assert other.coverage("m").done == 11
    assert CALLS == [7]
    assert rows.run("m") == []


def test_a_row_that_fails_keeps_its_error_and_is_retried_when_asked(rows: Datalayer) -> None:
    broken = [True]

    def fragile(x: int) -> int:
        if x == 3 and broken:
            raise ValueError("three is odd")
        return x

    rows.apply(Listener(Model("m", object=fragile, datatype="int"), key="x", select=rows["t"]))
    (found,) = rows.errors("m")
    assert found["row"] == "r3"
    assert "ValueError: three is odd" in found["error"]
    assert "fragile" in found["error"]
    assert outputs(rows)["r3"] is None
    assert outputs(rows)["r4"] == 4
    assert rows.run("m") == [], "a failed row is not tried again by itself"
    (job,) = rows.run("m", retry=True)
    assert (job.rows, job.failed) == (1, 1)


def test_a_batched_model_fails_on_the_rows_at_fault_only(rows: Datalayer) -> None:
    def batch(xs: list[int]) -> list[int]:
        if 3 in xs:
            raise ValueError("three")
        return [x + 1 for x in xs]

    rows.apply(Listener(Model("m", object=batch, datatype="int", batched=True), key="x", select=rows["t"]))
    assert [error["row"] for error in rows.errors("m")] == ["r3"]
    assert outputs(rows)["r9"] == 10


def test_an_insert_is_kept_and_said_so_when_the_model_then_fails(rows: Datalayer) -> None:
    def never(x: int) -> int:
        raise ValueError("never")

    rows["t"].delete_many({}).execute()
    rows.apply(Listener(ObjectModel("m", object=never), key="x", select=rows["t"]))
    ids, jobs = rows["t"].insert_one({"id": "a", "x": 1}).execute()
    assert ids == ["a"]
    assert [job.phase for job in jobs] == ["Failed"]
    assert "never" in jobs[0].message
    ids, jobs = rows["t"].update_one({"id": "a"}, {"$set": {"x": 2}}).execute()
    assert (ids, [job.phase for job in jobs]) == (["a"], ["Failed"])
    assert rows["t"].find_one({"id": "a"}).execute()["x"] == 2


def test_manual_listeners_wait_until_they_are_asked(rows: Datalayer) -> None:
    rows.apply(Listener(ObjectModel("m", object=counted), key="x", select=rows["t"], trigger="Manual"))
    rows["t"].insert_one({"id": "new", "x": 5}).execute()
    assert CALLS == []
    (job,) = rows.run("m")
    assert job.rows == 11
    rows["t"].update_one({"id": "r3"}, {"$set": {"x": 50}}).execute()
    assert outputs(rows)["r3"] is None, "what is no longer right is not shown"
    rows.run("m")
    assert outputs(rows)["r3"] == 500


def test_a_suspended_model_runs_nothing_until_it_is_resumed(rows: Datalayer) -> None:
    def model(*, suspend: bool) -> Listener:
        return Listener(Model("m", object=counted, suspend=suspend), key="x", select=rows["t"])

    rows.apply(model(suspend=True))
    rows["t"].insert_one({"id": "new", "x": 5}).execute()
    assert CALLS == []
    rows.apply(model(suspend=False))
    assert len(CALLS) == 11
    CALLS.clear()
    rows["t"].insert_one({"id": "newer", "x": 6}).execute()
    assert CALLS == [6]
    loaded = rows.load("model", "m")
    loaded.suspend = True
    rows.apply(loaded)
    rows["t"].insert_one({"id": "newest", "x": 7}).execute()
    assert CALLS == [6]
    assert outputs(rows)["r3"] == 30, "what was computed stays"
    loaded = rows.load("model", "m")
    loaded.suspend = False
    rows.apply(loaded)
    assert rows.gc(window=0).removed == 0
    rows.run("m")
    assert CALLS == [6, 7], "only what came in meanwhile is computed"


def test_a_model_runs_over_the_outputs_of_another(rows: Datalayer) -> None:
    rows.apply(Listener(ObjectModel("first", object=lambda x: x + 1), key="x", select=rows["t"]))
    rows.apply(Listener(ObjectModel("second", object=counted), key="output", select=rows["_outputs__first"]))
    assert sorted(CALLS) == list(range(1, 11))
    CALLS.clear()
    rows["t"].insert_one({"id": "new", "x": 100}).execute()
    assert CALLS == [101]
    rows["t"].update_one({"id": "r0"}, {"$set": {"x": 200}}).execute()
    assert CALLS == [101, 201]
    rows["t"].delete_one({"id": "r0"}).execute()
    assert rows["_outputs__second"].count_documents().execute() == 10
    found = {row["_source"]: row["output"] for row in rows["outputs.second"].find().execute()}
    assert found["new"] == 1010


def test_training_waits_for_rows_and_happens_once(db: Datalayer) -> None:
    training = Training(
        object=Code(source="def fit(xs, ys):\n    return {'mean': sum(ys) / len(ys)}", callable="fit"),
        table="t",
        inputs=["x"],
        target="y",
    )
    made = Model(
        "m",
        object=lambda fitted, x: fitted["mean"] + x,
        training=training,
        predict=Predict(table="t", inputs=["x"], output={"type": "float"}),
    )
    with pytest.raises(NotFound, match="no table 't'"):
        db.apply(made)
    db.apply(Table("t", fields={"x": "int", "y": "int"}))
    db.apply(made)
    with pytest.raises(ModelError, match="not trained"):
        db.predict("m", 1)
    db["t"].insert_many([{"id": f"r{n}", "x": n, "y": 2} for n in range(4)]).execute()
    db.apply(made)
    assert outputs(db) == {f"r{n}": 2.0 + n for n in range(4)}
    assert db.predict("m", 5) == 7.0
    db.apply(made)
    assert [job.kind for job in db.metadata.jobs("m")].count("train") == 1
    assert db.gc(window=0).removed == 0
    assert db.predict("m", 5) == 7.0


def test_metrics_of_ones_own_measure(rows: Datalayer) -> None:
    def close(targets: list[int], predictions: list[int]) -> float:
        return sum(t == p for t, p in zip(targets, predictions, strict=True)) / len(targets)

    rows.apply(Metric("close", close))
    rows.apply(
        Model("m", object=lambda x: -x, validation=Validation(table="t", target="y", inputs=["x"], metrics=["close"]))
    )
    assert rows.validate("m") == {"close": 1.0}
    with pytest.raises(ModelError, match="no validation"):
        rows.apply(ObjectModel("n", object=lambda x: x))
        rows.validate("n")


def test_an_older_result_never_overwrites_a_newer_row(rows: Datalayer) -> None:
    """A row changes while it is being predicted: the result of what it was does not count as current."""
    entered, go_on = threading.Event(), threading.Event()

    class Slow:
        def __call__(self, x: int) -> int:
            if x == 3:
                entered.set()
                assert go_on.wait(20)
            return x * 10

        def __reduce__(self) -> Any:
            return (int, ())

    rows.apply(Listener(Model("m", object=counted, datatype="int"), key="x", select=rows["t"], trigger="Manual"))
    listener = rows.listener("m")
    listener.model._function = Slow()
    runner = threading.Thread(target=lambda: rows.upkeep.run(listener))
    runner.start()
    assert entered.wait(20)
    rows["t"].update_one({"id": "r3"}, {"$set": {"x": 5}}).execute()
    go_on.set()
    runner.join(20)
    assert outputs(rows)["r3"] in (None, 50)
    rows.run("m")
    assert outputs(rows)["r3"] == 50


def test_bulk_write_is_all_or_none_and_predicts_afterwards(rows: Datalayer) -> None:
    from pymongo import DeleteOne, InsertOne, UpdateOne

    rows.apply(Listener(ObjectModel("m", object=counted), key="x", select=rows["t"]))
    CALLS.clear()
    operations = [
        InsertOne({"id": "new", "x": 50}),
        UpdateOne({"id": "r1"}, {"$set": {"x": 60}}),
        DeleteOne({"id": "r2"}),
    ]
    ids, jobs = rows["t"].bulk_write(operations).execute()
    assert set(ids) == {"new", "r1", "r2"}
    assert sorted(CALLS) == [50, 60]
    assert sum(job.rows for job in jobs) == 2
    CALLS.clear()
    with pytest.raises(SuperduperError):
        rows["t"].bulk_write([InsertOne({"id": "newer", "x": 1}), InsertOne({"id": "r3", "x": 1})]).execute()
    assert rows["t"].count_documents({"id": "newer"}).execute() == 0
    assert CALLS == []


def test_bulk_write_makes_the_table_where_there_is_none(db: Datalayer) -> None:
    from pymongo import InsertOne

    db["fresh"].bulk_write([InsertOne({"id": "a", "x": 1}), InsertOne({"id": "b", "x": 2})]).execute()
    assert db["fresh"].count_documents().execute() == 2


def test_a_payload_in_a_bulk_write_is_safe_from_a_collection_before_the_commit(db: Datalayer) -> None:
    from pymongo import InsertOne, UpdateOne

    db.apply(Table("t", fields={"x": DataType("any", codec="pickle")}))
    kind = db.load("datatype", "any")
    collected: list[Any] = []

    class Collects:
        def __reduce__(self) -> Any:
            collected.append(db.artifacts.gc(lambda: iter(()), window=0))
            return (str, ("second",))

    assert kind is not None
    db["t"].bulk_write(
        [InsertOne({"id": "a", "x": "first"}), UpdateOne({"id": "a"}, {"$set": {"x": Collects()}})]
    ).execute()
    db["t"].bulk_write([InsertOne({"id": "b", "x": "third"}), InsertOne({"id": "c", "x": Collects()})]).execute()
    assert collected
    assert [row["x"] for row in db["t"].find({}, sort="id").execute()] == ["second", "third", "second"]


def test_outputs_are_not_inserted_by_hand(rows: Datalayer) -> None:
    with pytest.raises(QueryError, match="superduper writes them"):
        rows["_outputs__m"].insert_one({"output": 1}).execute()


def test_threads_insert_read_and_apply_at_once(rows: Datalayer) -> None:
    failures: list[BaseException] = []

    def guarded(work: Any, *arguments: Any) -> None:
        try:
            work(*arguments)
        except BaseException as error:
            failures.append(error)

    def insert(name: int) -> None:
        for n in range(15):
            rows["t"].insert_one({"id": f"{name}-{n}", "x": n}).execute()

    def read(_: int) -> None:
        for _ in range(30):
            list(rows["t"].find({"x": {"$gt": 3}}).execute())

    def apply(name: int) -> None:
        for n in range(8):
            rows.apply(ObjectModel(f"m{name}", object=lambda x, n=n: x + n))
            assert rows.load("model", f"m{name}") is not None

    threads = [threading.Thread(target=guarded, args=(work, n)) for work in (insert, read, apply) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert rows["t"].count_documents().execute() == 10 + 3 * 15
    assert rows.show("model", "m2") == list(range(8))


def test_a_listener_reads_fields_that_are_there(db: Datalayer) -> None:
    db.insert("t", [{"id": "1", "price": 1}])
    with pytest.raises(ConfigError, match=r"has no field 'prise'; did you mean 'price'\?"):
        db.apply(Listener(ObjectModel("m", object=lambda x: x), key="prise", select=db["t"].find()))


def test_a_model_that_exits_fails_its_row_only(db: Datalayer) -> None:
    def leaves(x: int) -> int:
        if x == 2:
            raise SystemExit(3)
        return x

    db.insert("t", [{"id": str(n), "x": n} for n in range(4)])
    db.apply(Listener(ObjectModel("m", object=leaves, datatype="int"), key="x", select=db["t"].find()))
    assert [error["row"] for error in db.errors("m")] == ["2"]
    assert db.coverage("m").done == 3


def test_a_changed_model_runs_again_wherever_it_listens(db: Datalayer) -> None:
    db.insert("t", [{"id": "1", "x": 1}])
    db.apply(Listener(ObjectModel("m", object=lambda x: x + 1, datatype="int"), key="x", select=db["t"].find()))
    db.apply(ObjectModel("m", object=lambda x: x + 2, datatype="int"))
    assert [row["_outputs"] for row in db["t"].find().outputs("m").execute()] == [{"m": 3}]


def test_the_current_version_is_not_removed_alone(db: Datalayer) -> None:
    for step in (1, 2):
        db.apply(ObjectModel("m", object=lambda x, step=step: x + step))
    with pytest.raises(InUse, match="version 1 is the current one"):
        db.remove("model", "m", 1)
    db.remove("model", "m", 0)
    assert db.show("model", "m") == [1]


def test_validation_leaves_out_rows_that_fail_and_counts_them(db: Datalayer) -> None:
    db.insert("t", [{"id": str(n), "x": n, "y": 12 // n if n else 0} for n in range(4)])
    validation = {"table": "t", "inputs": ["x"], "target": "y", "metrics": ["accuracy"]}
    db.apply(Model("m", object=lambda x: 12 // x, validation=validation))
    assert db.validate("m") == {"accuracy": 1.0}
    assert db.metadata.status("model", "m")["validation"]["failed"] == 1
    db.apply(Model("m", object=lambda x: x / 0, validation=validation))
    with pytest.raises(ModelError, match="failed on each row, as on '0': ZeroDivisionError"):
        db.validate("m")


def test_a_manifest_without_predict_takes_the_listener_away(db: Datalayer) -> None:
    db.insert("t", [{"id": "1", "x": 1}])
    spec = {"object": {"module": "math", "callable": "sqrt"}, "datalayerRef": {"name": "d"}}
    predict = {"table": "t", "inputs": ["x"], "output": {"type": "float"}}
    for given, listeners in (({**spec, "predict": predict}, ["m"]), (spec, [])):
        db.apply(ModelObject.model_validate({"metadata": {"name": "m"}, "spec": given}))
        assert db.show("listener") == listeners


def test_a_metric_that_is_none_is_refused_before_anything_is_trained(rows: Datalayer) -> None:
    validation = {"table": "t", "target": "x", "metrics": ["acuracy"], "inputs": ["x"]}
    training = {"object": lambda x: CALLS.append("trained"), "table": "t", "inputs": ["x"]}
    CALLS.clear()
    with pytest.raises(ConfigError, match="no metric 'acuracy'; did you mean 'accuracy'"):
        rows.apply(Model("m", training=training, validation=validation))
    assert (CALLS, rows.show("model")) == ([], [])
    rows.apply(Metric("acuracy", lambda targets, predictions: 0.5))
    rows.apply(Model("m", object=lambda x: x, validation=validation))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"encoder": Code(source="def f(x)\n  pass", callable="f")},
            CodeError,
            "'d' encoder.source: line 1: expected ':'",
        ),
        ({"decoder": Code(module="json", callable="lods")}, CodeError, "'d' decoder.callable: json defines no 'lods'"),
        ({"codec": "image", "info": {"format": "GIFF"}}, ConfigError, "no image format 'GIFF'; did you mean 'GIF'?"),
    ],
)
def test_a_data_type_that_cannot_work_is_refused_when_it_is_applied(
    rows: Datalayer, options: dict[str, Any], error: type[SuperduperError], message: str
) -> None:
    with pytest.raises(error) as caught:
        rows.apply(DataType("d", **options))
    assert message in str(caught.value)
    assert rows.show("datatype") == []
