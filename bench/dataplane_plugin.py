"""superduper in the table of ``../shared/bench/peer_dataplane.py``, whose ``Blobs`` says what each method does.

    .venv/bin/python ../shared/bench/peer_dataplane.py blobs --n 1000 --size 100000 --dir /dev/shm \\
        --plugin bench/dataplane_plugin.py --systems superduper_k8s,cas_verify

It needs the project's own environment; other systems may be run with theirs by ``--python``.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from itertools import islice
from typing import Any

from peer_dataplane import Blobs, Row, register  # type: ignore[import-not-found]

PRELOADED = "superduper.datalayer"


@register("superduper_k8s")
class Superduper(Blobs):  # type: ignore[misc]
    """SQLite, payloads in the file system as lazy artifacts."""

    note = "fsync of packs and of each commit; every read verified"

    db: Any = None

    def load(self) -> None:
        __import__(PRELOADED)

    def open(self) -> None:
        from superduper import superduper

        self.close()
        store = f"filesystem://{self.root}/artifacts"
        self.db = superduper(f"sqlite:///{self.root}/rows.db", artifact_store=store)

    def create(self) -> None:
        from superduper import DataType, Table

        self.open()
        lazy = DataType("blob", codec="bytes", encodable="lazy_artifact")
        with contextlib.redirect_stdout(sys.stderr):
            self.db.apply(Table("t", fields={"id": "int", "meta": "str", "blob": lazy}))

    def write(self, rows: list[Row]) -> None:
        self.db["t"].insert_many([{"id": id, "meta": meta, "blob": blob} for id, meta, blob in rows]).execute()

    def rows_only(self) -> int:
        return sum(1 for _ in self.db["t"].find().execute())

    def read_all(self) -> int:
        return sum(len(row["blob"].unpack()) for row in self.db["t"].find().execute())

    def _some(self, ids: list[int]) -> Iterator[Any]:
        return (row["blob"] for row in self.db["t"].find({"id": {"$in": ids}}).execute())

    def read(self, ids: list[int]) -> int:
        return sum(len(blob.unpack()) for blob in self._some(ids))

    def read_range(self, ids: list[int], size: int) -> int:
        return sum(len(part) for blob in self._some(ids) for part in blob.read_ranges([(blob.size // 2, size)]))

    def stream(self, batch: int) -> Iterator[int]:
        rows = self.db["t"].find().execute()
        while some := list(islice(rows, batch)):
            yield sum(len(row["blob"].unpack()) for row in some)

    def close(self) -> None:
        if self.db is not None:
            self.db.close()
