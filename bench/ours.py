"""superduper, used as its users use it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, Literal

from bench.systems import Compute, Kind, Row, System


class Ours(System):
    """SQLite or mongomock, payloads in the file system."""

    db: Any = None

    def open(self) -> None:
        from superduper import superduper

        if self.db is not None and self.backend == "sqlite":
            self.db.close()
        elif self.db is not None:
            return  # a mongomock database lives in its handle
        uri = "mongomock://bench" if self.backend == "mongomock" else f"sqlite:///{self.root}/rows.db"
        store = f"filesystem://{self.root}/artifacts"
        self.db = superduper(uri, artifact_store=store)

    def create(self, table: str, kind: Kind, key: Literal["str", "int"]) -> None:
        from superduper import DataType, Table

        codec = kind.removeprefix("lazy ")
        stored: Any = "artifact" if kind == codec else "lazy_artifact"
        field = "int" if kind == "int" else DataType(f"{table}_x", codec=codec, encodable=stored)
        self.db.apply(Table(table, fields={"id": key, "x": field}))

    def insert(self, table: str, rows: Sequence[Row]) -> None:
        self.db[table].insert_many(rows).execute()

    def read(self, table: str) -> list[Row]:
        return list(self.db[table].find().execute())

    def read_keys(self, table: str, keys: Sequence[Any]) -> list[bytes]:
        return [row["x"].unpack() for row in self.db[table].find({"id": {"$in": list(keys)}}).execute()]

    def batches(self, table: str, size: int) -> Iterator[list[bytes]]:
        rows = self.db[table].find().execute()
        while some := list(islice(rows, size)):
            yield [row["x"].unpack() for row in some]

    def listen(self, table: str, function: Callable[[int], int]) -> None:
        from superduper import Listener, ObjectModel

        model = ObjectModel("plus_one", object=function, datatype="int")
        self.db.apply(Listener(model, key="x", select=self.db[table].find()))

    def insert_listened(self, table: str, row: Row) -> None:
        self.insert(table, [row])

    def outputs(self) -> list[int]:
        (name,) = self.db.show("listener")
        return [row["output"] for row in self.db[f"outputs.{name}"].find().execute()]

    def vectorise(self, table: str, function: Callable[[list[int]], list[int]], compute: Compute) -> None:
        from superduper import ObjectModel, superduper

        self.db.close()
        uri, store = f"sqlite:///{self.root}/rows.db", f"filesystem://{self.root}/artifacts"
        self.db = superduper(uri, artifact_store=store, compute=compute, defer=True)
        predict = {"table": table, "inputs": ["x"], "output": {"type": "int"}, "batched": True}
        self.db.apply(ObjectModel("vectorised", object=function, predict=predict))
        self.catch_up()

    def catch_up(self) -> None:
        self.db.run("vectorised")

    def mapped(self, batches: Sequence[list[int]]) -> int:
        from superduper.backends.base.compute import Batch
        from superduper.jobs.predictor import Predictor

        predictor = Predictor(*self.db.load("model", "vectorised").function())
        given = (Batch(batch, [batch]) for batch in batches)
        return sum(sum(done.values) for done in self.db.compute.map(predictor, given))

    def close(self) -> None:
        self.db.close()
