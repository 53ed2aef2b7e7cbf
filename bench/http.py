"""Rows and bytes a second over HTTP on the loopback, beside the same stores used directly: ``python -m bench.http``.

The server is a process of its own with SQLite and a folder; each figure is the median of five. Then what a whole job costs.
``python -m bench.http job`` measures that alone.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.http_job import costs
from superduper.artifacts.seam import ArtifactStore
from superduper.backends.base.data_backend import DataBackend
from superduper.backends.filesystem.artifacts import FileSystemArtifactStore
from superduper.backends.http.artifacts import HttpArtifactStore
from superduper.backends.http.data_backend import HttpDataBackend
from superduper.backends.sqlite.data_backend import SQLiteDataBackend
from superduper.query.ast import EVERYTHING, Select
from superduper.query.tables import Column, TableDef
from tests.servers.base import running
from tests.servers.datalayer import SeamsServer

ROWS, BYTES, TIMES = 10_000, 256 << 20, 5
T = TableDef(
    "t",
    (Column("id", "str"), Column("n", "int"), Column("f", "float"), Column("s", "str"), Column("_fold", "str")),
    "id",
)
GIVEN = [{"id": f"{n:06}", "n": n, "f": n / 7, "s": f"some text of row {n}", "_fold": "train"} for n in range(ROWS)]


def seconds(prepare: Callable[[], object], act: Callable[[], object]) -> float:
    """The median of what the act takes."""
    took = []
    for _ in range(TIMES):
        prepare()
        began = time.perf_counter()
        act()
        took.append(time.perf_counter() - began)
    return statistics.median(took)


def rows(backend: DataBackend) -> dict[str, float]:
    """Rows a second: one insert of all, reading all, and single look-ups."""
    backend.create_table(T)

    def empty() -> None:
        backend.delete(T, EVERYTHING, many=True)

    def read() -> None:
        assert sum(len(part) for part in backend.select(T, Select("t"))) == ROWS

    def one_by_one() -> None:
        for _ in range(100):
            next(iter(backend.select(T, Select("t", limit=1))))

    insert = seconds(empty, lambda: backend.insert(T, GIVEN))
    return {
        "insert of 10,000 rows, rows/s": ROWS / insert,
        "read of 10,000 rows, rows/s": ROWS / seconds(lambda: None, read),
        "single reads, 1/s": 100 / seconds(lambda: None, one_by_one),
    }


def blobs(store: ArtifactStore) -> dict[str, float]:
    """MB a second of one large object."""
    data = os.urandom(BYTES)

    def back() -> None:
        assert len(store.get("a")) == BYTES

    put = seconds(lambda: None, lambda: store.put("a", data))
    return {"blob of 256 MiB up, MB/s": BYTES / put / 1e6, "and down, MB/s": BYTES / seconds(lambda: None, back) / 1e6}


def rates(root: Path) -> None:
    direct = rows(SQLiteDataBackend(f"sqlite:///{root}/direct.db")) | blobs(
        FileSystemArtifactStore(f"filesystem://{root}/direct")
    )
    with running(SeamsServer, root) as server:
        uri = server.over()
        served = rows(HttpDataBackend(uri)) | blobs(HttpArtifactStore(uri))
    sys.stdout.write("| | direct | over HTTP | ratio |\n|---|---|---|---|\n")
    for name, before in direct.items():
        sys.stdout.write(f"| {name} | {before:,.0f} | {served[name]:,.0f} | {before / served[name]:.1f} |\n")


def job(root: Path) -> None:
    sys.stdout.write(
        "| processor seconds, job and server | embedded | over HTTP | ratio | requests |\n|---|---|---|---|---|\n"
    )
    for name, (direct, served) in costs(root).items():
        ratio = served.cpu / direct.cpu
        sys.stdout.write(f"| {name} | {direct.cpu:.2f} | {served.cpu:.2f} | {ratio:.1f} | {served.requests} |\n")


def main(*only: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        root.chmod(0o755)
        for name, part in (("rates", rates), ("job", job)):
            if not only or name in only:
                part(root)


if __name__ == "__main__":
    main(*sys.argv[1:])
