"""A walk through superduper from Python: run it in an empty folder, `python walk.py`. Nothing needs a server."""

from __future__ import annotations

import pickle
from pathlib import Path

from superduper import DataType, Document, Listener, Metric, Model, ObjectModel, Schema, Table, superduper


def kept_beside_the_row(db):
    """`artifact`: the row holds a reference, the bytes are a file of their own, the value comes back with the row."""
    thing = DataType("thing", encoder=pickle.dumps, decoder=pickle.loads, encodable="artifact")
    db.apply(Table("things", schema=Schema("things", {"x": thing})))
    db["things"].insert_one(Document({"id": "a", "x": {"any": ("object", 1)}})).execute()

    row = db["things"].find_one({"id": "a"}).execute()
    print("the row as you see it:   ", row)
    stored = db.databackend.conn.test.things.find_one()
    print("the row as it is stored: ", stored["x"])
    file = Path("artifacts", stored["x"].rpartition(":")[2])
    print("the file behind it:      ", pickle.loads(file.read_bytes()))


def read_when_needed(db):
    """`lazy_artifact`: a handle, until it is unpacked; it can also be read in part."""
    text = DataType("long_text", codec="text", encodable="lazy_artifact")
    db.apply(Table("books", fields={"text": text, "pages": "int"}))
    db.insert("books", [{"id": "novel", "text": "It was a dark night. " * 10_000, "pages": 150}])

    row = db["books"].find_one({"id": "novel"}).execute()
    print("before:", row["text"].x, "of", row["text"].size, "bytes; a range of it:", row["text"].read_ranges([(9, 11)]))
    print("after: ", len(row.unpack()["text"]), "characters")


def files_and_folders(db):
    """`file`: a path goes in, its content is copied into the store; a path to a copy comes out."""
    Path("notes/old").mkdir(parents=True, exist_ok=True)
    Path("notes/old/first.txt").write_text("hello")
    db.apply(Table("folders", fields={"path": DataType("folder", encodable="file")}))
    db.insert("folders", [{"id": "notes", "path": "./notes"}])

    Path("notes/old/first.txt").write_text("changed since")
    copy = Path(db["folders"].find_one({"id": "notes"}).execute().unpack()["path"])
    print("what was stored:", (copy / "old" / "first.txt").read_text())


def outputs_kept_up_to_date(db):
    """A listener computes what is missing, and no more."""
    db.insert("numbers", [{"id": str(n), "x": n, "even": n % 2 == 0} for n in range(100)])
    square = ObjectModel("square", object=lambda x: x * x)
    db.apply(Listener(model=square, key="x", select=db["numbers"].find({"even": True})))
    print("coverage:", db.coverage("square"))

    ids, jobs = db["numbers"].insert_one({"id": "new", "x": 12, "even": True}).execute()
    print("one more row:", ids, "computed:", [job.rows for job in jobs])
    found = db["numbers"].find({"x": {"$gte": 90}, "even": True}).sort("x", 1).outputs("square").execute()
    print("outputs:", [row["_outputs"]["square"] for row in found])
    db["numbers"].update_many({"id": "new"}, {"$set": {"x": 13}}).execute()
    print("after an update:", db["numbers"].find_one({"id": "new"}).outputs("square").execute()["_outputs"])


def trained_and_measured(db):
    """A model that is fitted on rows, run on rows and measured on rows, all in one component."""

    def fit(xs, ys):
        return sum(y / x for x, y in zip(xs, ys, strict=True)) / len(xs)

    db.insert("prices", [{"id": str(n), "size": float(n), "price": 3.0 * n} for n in range(1, 201)])
    db.apply(Metric("worst", lambda targets, found: max(abs(t - f) for t, f in zip(targets, found, strict=True))))
    model = Model(
        "price_of_size",
        object=lambda rate, size: rate * size,
        training={
            "table": "prices",
            "inputs": ["size"],
            "target": "price",
            "filter": {"_fold": "train"},
            "object": fit,
        },
        predict={"table": "prices", "inputs": ["size"], "output": {"type": "float"}},
        validation={"table": "prices", "target": "price", "filter": {"_fold": "valid"}, "metrics": ["worst"]},
    )
    db.apply(model)
    print("asked:", round(db.predict("price_of_size", 50.0), 6), "measured:", round(db.validate(model)["worst"], 6))
    print("fitted:", db.load("model", "price_of_size").fitted is not None)


def what_there_is(db):
    """What the datalayer knows, and forgetting it again."""
    print("models:", db.show("model"), "versions of square:", db.show("model", "square"))
    db.remove("model", "square", force=True)
    print("models:", db.show("model"))


def main() -> None:
    with superduper("mongomock://test", artifact_store="filesystem://./artifacts") as db:
        for part in (kept_beside_the_row, read_when_needed, files_and_folders, outputs_kept_up_to_date,
                     trained_and_measured, what_there_is):  # fmt: skip
            print(f"\n{part.__doc__}")
            part(db)


if __name__ == "__main__":
    main()
