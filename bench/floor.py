"""The floor: what the same job costs without any framework, in as few lines as it takes.

``Files`` has the meaning of ``../shared/bench/peer_superduper.py --impl raw``: pickle, SHA-1, a file per payload, and
the bare databackend; its reads are verified, as ours are. ``Inline`` keeps payloads in SQLite's rows and verifies
nothing. Neither forces anything to the disk.
"""

from __future__ import annotations

import hashlib
import pickle
import sqlite3
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from bench.systems import Compute, Kind, Row, System

_PREFIX = "&:blob:"
TOGETHER = 4096
"""Rows that are computed together."""


class Files(System):
    """Rows in SQLite or mongomock, payloads in files named by their SHA-1."""

    db: Any
    function: Callable[[int], int]
    mapping: Callable[[Iterable[list[int]]], Iterator[list[int]]]
    table: str

    def __init__(self, root: Path, backend: str) -> None:
        super().__init__(root, backend)
        self.store = f"{root}/payloads/"
        Path(self.store).mkdir(exist_ok=True)
        self.kinds: dict[str, Kind] = {}

    def open(self) -> None:
        if self.backend == "sqlite":
            self.db = sqlite3.connect(self.root / "rows.db")
        elif not hasattr(self, "db"):
            import mongomock

            self.db = mongomock.MongoClient()["bench"]

    def create(self, table: str, kind: Kind, key: Literal["str", "int"]) -> None:
        self.kinds[table] = kind
        if self.backend == "sqlite":
            words = "text primary key" if key == "str" else "integer primary key"
            self.db.execute(f"create table {table} (id {words}, x)")

    def _put(self, value: bytes) -> str:
        key = hashlib.sha1(value).hexdigest()
        with open(self.store + key, "wb") as file:
            file.write(value)
        return _PREFIX + key

    def _get(self, reference: str) -> bytes:
        key = reference[len(_PREFIX) :]
        with open(self.store + key, "rb") as file:
            value = file.read()
        if hashlib.sha1(value).hexdigest() != key:
            raise ValueError(f"corrupt payload {key}")
        return value

    def insert(self, table: str, rows: Sequence[Row]) -> None:
        kind = self.kinds[table]
        if kind.endswith("pickle"):
            rows = [{**row, "x": self._put(pickle.dumps(row["x"], protocol=4))} for row in rows]
        elif kind.endswith("bytes"):
            rows = [{**row, "x": self._put(row["x"])} for row in rows]
        self._insert(table, rows)

    def _insert(self, table: str, rows: Sequence[Row]) -> None:
        if self.backend == "sqlite":
            with self.db:
                self.db.executemany(f"insert into {table} values (:id, :x)", rows)
        else:
            self.db[table].insert_many([dict(row) for row in rows])

    def _rows(self, table: str) -> list[Row]:
        if self.backend == "sqlite":
            return [{"id": id, "x": x} for id, x in self.db.execute(f"select id, x from {table}")]
        return list(self.db[table].find())

    def read(self, table: str) -> list[Row]:
        rows = self._rows(table)
        if self.kinds[table] != "int":
            load = pickle.loads if self.kinds[table] == "pickle" else bytes
            for row in rows:
                row["x"] = load(self._get(row["x"]))
        return rows

    def read_keys(self, table: str, keys: Sequence[Any]) -> list[bytes]:
        marks = ",".join("?" * len(keys))
        found = self.db.execute(f"select x from {table} where id in ({marks})", keys).fetchall()
        return [self._get(x) for (x,) in found]

    def batches(self, table: str, size: int) -> Iterator[list[bytes]]:
        cursor = self.db.execute(f"select x from {table}")
        while found := cursor.fetchmany(size):
            yield [self._get(x) for (x,) in found]

    def listen(self, table: str, function: Callable[[int], int]) -> None:
        self.function = function
        self.create("outputs", "int", "str")
        self._insert("outputs", [{"id": row["id"], "x": function(row["x"])} for row in self.read(table)])

    def insert_listened(self, table: str, row: Row) -> None:
        self._insert(table, [row])
        self._insert("outputs", [{"id": row["id"], "x": self.function(row["x"])}])

    def outputs(self) -> list[int]:
        return [row["x"] for row in self.read("outputs")]

    def vectorise(self, table: str, function: Callable[[list[int]], list[int]], compute: Compute) -> None:
        self.table, self.mapping = table, _on_ray(function) if compute == "ray" else partial(map, function)
        self.create("outputs", "int", "int")
        self.catch_up()

    def catch_up(self) -> None:
        missing = self.db.execute(
            f"select t.id, t.x from {self.table} t left join outputs o on o.id = t.id where o.id is null order by t.id"
        ).fetchall()
        parts = [missing[start : start + TOGETHER] for start in range(0, len(missing), TOGETHER)]
        computed = self.mapping([x for _, x in part] for part in parts)
        for part, values in zip(parts, computed, strict=True):
            with self.db:
                self.db.executemany(
                    "insert into outputs values (?, ?)", zip((id for id, _ in part), values, strict=True)
                )

    def mapped(self, batches: Sequence[list[int]]) -> int:
        return sum(map(sum, self.mapping(batches)))

    def close(self) -> None:
        self.db.close()


def _on_ray(function: Callable[[list[int]], list[int]]) -> Callable[[Iterable[list[int]]], Iterator[list[int]]]:
    """The plainest actor, four lists in flight, in order."""
    import ray

    ray.init("local", num_cpus=2, include_dashboard=False, object_store_memory=200 << 20, log_to_driver=False)

    @ray.remote
    class Worker:
        def run(self, values: list[int]) -> list[int]:
            return function(values)

    worker: Any = Worker.remote()

    def mapping(batches: Iterable[list[int]]) -> Iterator[list[int]]:
        flight: deque[Any] = deque()
        for batch in batches:
            flight.append(worker.run.remote(batch))
            if len(flight) == 4:
                yield ray.get(flight.popleft())
        while flight:
            yield ray.get(flight.popleft())

    return mapping


class Inline(Files):
    """Payloads, as bytes, in SQLite's rows: the plainest thing for small ones."""

    def insert(self, table: str, rows: Sequence[Row]) -> None:
        self._insert(table, rows)

    def read(self, table: str) -> list[Row]:
        return self._rows(table)
