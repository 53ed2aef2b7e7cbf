"""Starting without a database, stopping under load, being killed, and what is there afterwards."""

from __future__ import annotations

import hashlib
import json
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.integration.server.conftest import Serve
from tests.integration.server.served import DOUBLE, NDJSON, TOKEN, Served, condition, ndjson, rows_of, wait_for

# httpx leaves the socket of a request whose connection is cut off to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
AUTH = {"Authorization": f"Bearer {TOKEN}"}


class Inserting(threading.Thread):
    """Inserts rows without end, as one request."""

    def __init__(self, server: Served, pause: float = 0.001) -> None:
        super().__init__()
        self.server, self.pause = server, pause
        self.sent = 0
        self.ended = threading.Event()
        self.answer: httpx.Response | None = None
        self.error: Exception | None = None

    def _rows(self) -> Iterator[bytes]:
        while not self.ended.is_set():
            yield ndjson(*({"id": f"{n:08}", "x": n} for n in range(self.sent, self.sent + 50)))
            self.sent += 50
            time.sleep(self.pause)

    def run(self) -> None:
        try:
            with httpx.Client(base_url=self.server.urls[0], headers={**AUTH, **NDJSON}, timeout=60) as client:
                self.answer = client.post("/v1/tables/t/rows", content=self._rows())
        except httpx.TransportError as error:
            self.error = error


def count(server: Served) -> int:
    return int(server.client.post("/v1/tables/t/query", json={"count": {}}).json()["count"])


def table(server: Served) -> None:
    server.put("Table", "t", fields={"x": {"type": "int"}}).raise_for_status()


def test_told_to_stop_it_ends_what_is_under_way_and_takes_nothing_new(server: Served) -> None:
    table(server)
    inserting = Inserting(server)
    inserting.start()
    wait_for("rows", lambda: count(server) >= 500)
    assert server.process is not None
    server.process.send_signal(signal.SIGTERM)
    ready = wait_for("the drain", lambda: (a := server.client.get("/readyz")).status_code == 503 and a)
    assert ready.json()["code"] == "Draining"
    refused = server.insert("t", {"id": "late"})
    assert (refused.status_code, refused.json()["code"], refused.headers["retry-after"]) == (503, "Draining", "2")
    assert server.client.get("/healthz").status_code == 200
    # Reading goes on for as long as it is there.
    assert len(server.rows("t", limit=10)) == 10
    inserting.ended.set()
    inserting.join()
    assert inserting.answer is not None, inserting.error
    assert (inserting.answer.status_code, inserting.answer.json()["inserted"]) == (201, inserting.sent)
    assert server.process.wait(20) == 0
    server.again()
    assert count(server) == inserting.sent


def test_what_does_not_end_in_time_is_cut_off_at_the_border_of_a_batch(serve: Serve) -> None:
    server = serve("--drain-seconds", "0.5").ready()
    table(server)
    inserting = Inserting(server)
    inserting.start()
    wait_for("rows", lambda: count(server) >= 1000)
    assert server.stop() == 0
    inserting.ended.set()
    inserting.join()
    server.again()
    rows = [row["x"] for row in server.rows("t", sort="x")]
    assert len(rows) % 500 == 0
    assert rows == list(range(len(rows)))


def test_killed_in_the_middle_of_an_insert_it_has_whole_batches_only(server: Served) -> None:
    table(server)
    for attempt in range(3):
        inserting = Inserting(server, pause=0)
        inserting.start()
        before = count(server) if attempt == 0 else 0
        wait_for("rows", lambda: count(server) > before)  # noqa: B023
        server.stop(signal.SIGKILL)
        inserting.ended.set()
        inserting.join()
        assert inserting.error is not None
        server.again()
        rows = [row["x"] for row in server.rows("t", sort="x")]
        assert rows == list(range(len(rows)))
        assert len(rows) % 500 == 0
        assert not list(Path(server.settings["HOME"]).glob("uploads/*"))
        server.client.post("/v1/tables/t/query", json={"delete": {"filter": {}}}).raise_for_status()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_filling_a_table_and_running_a_model_go_on_where_the_server_was_stopped(
    server: Served, number: signal.Signals
) -> None:
    slow = "n % 100 or time.sleep(0.02)"
    server.put("Table", "t", fields={"x": {"type": "int"}}, source=rows_of(6000, before=slow))
    server.put("Model", "m", **DOUBLE)
    wait_for("some rows", lambda: server.told("Table", "t")["status"].get("rows", 0) >= 500)
    code = server.stop(number)
    assert code == (0 if number == signal.SIGTERM else -9)
    server.again()
    told = wait_for(
        "all outputs", lambda: (m := server.told("Model", "m"))["status"].get("predicted") == 6000 and m, 60
    )
    assert condition(told)["reason"] == "Available"
    assert condition(server.told("Table", "t"))["message"] == "6,000 rows"


def test_it_starts_without_its_database_says_so_and_heals(serve: Serve, postgres_uri: str) -> None:
    uri = postgres_uri
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        taken.close()
        host = uri.rpartition("@")[2].partition("/")[0]
        server = serve(DATABACKEND=uri.replace(host, f"127.0.0.1:{port}"))
        ready = wait_for(
            "the error",
            lambda: (a := server.client.get("/readyz")).json()["code"] == "Unreachable" and str(port) in a.text and a,
        )
        assert ready.status_code == 503
        assert server.client.get("/healthz").status_code == 200
        for answer in (
            server.client.get("/v1/info"),
            server.client.get("/v1/objects"),
            server.insert("t", {"id": "a"}),
        ):
            assert (answer.status_code, answer.json()["code"]) == (503, "Unreachable")
            assert answer.headers["retry-after"]
            assert "s3cret" not in answer.text
        # Somebody starts the database: here, whoever passes on to it.
        with forwarding(port, int(host.rpartition(":")[2])):
            server.ready()
            table(server)
            assert server.insert("t", {"id": "a", "x": 1}).status_code == 201
            assert server.client.get("/v1/info").json()["singleWriter"] is True  # the artifacts' folder
        wait_for("the loss", lambda: server.client.get("/readyz").status_code == 503)
        assert server.client.get("/v1/info").json()["code"] == "Unreachable"
        with forwarding(port, int(host.rpartition(":")[2])):
            server.ready()
            assert server.rows("t")[0]["x"] == 1


def test_a_wrong_password_is_told_as_such(serve: Serve, postgres_uri: str) -> None:
    server = serve(DATABACKEND=postgres_uri.replace(":s3cret@", ":wrong@"))
    wait_for("the error", lambda: server.client.get("/readyz").json()["code"] == "AccessDenied")
    answers = [server.client.get(path) for path in ("/readyz", "/v1/info", "/v1/objects")]
    assert [(a.status_code, a.json()["code"]) for a in answers] == [
        (503, "AccessDenied"), (503, "AccessDenied"), (502, "AccessDenied"),
    ]  # fmt: skip
    assert "wrong" not in server.client.get("/v1/info").json()["message"].split("password")[-1]


def test_on_postgresql_all_goes_the_same_way(serve: Serve, postgres_uri: str) -> None:
    server = serve(DATABACKEND=postgres_uri).ready()
    server.put("Table", "t", fields={"x": {"type": "int"}}, source=rows_of(1500))
    server.put("Model", "m", **DOUBLE)
    wait_for("outputs", lambda: server.told("Model", "m")["status"].get("predicted") == 1500)
    row = server.rows("t", filter='{"x": 7}', outputs="m")[0]
    assert row["_outputs"] == {"m": 14}
    assert server.client.get("/v1/info").json()["databackend"].count("***") == 1
    assert server.stop() == 0


def test_a_client_that_goes_away_ends_the_work_for_it(server: Served) -> None:
    table(server)
    for start in range(0, 60_000, 20_000):
        server.insert("t", *({"id": f"{n:06}", "x": n} for n in range(start, start + 20_000))).raise_for_status()
    with httpx.stream("GET", f"{server.urls[0]}/v1/tables/t/rows", headers=AUTH) as answer:
        next(answer.iter_lines())

    def sent() -> float:
        lines = server.client.get("/metrics").text.splitlines()
        return float(next(line.split()[1] for line in lines if line.startswith('superduper_rows_total{what="sent"}')))

    wait_for("the end of it", lambda: "superduper_requests_active 1.0" in server.client.get("/metrics").text)
    assert sent() < 60_000


@pytest.mark.parametrize("way", ["artifact", "row", "lines"])
def test_memory_is_bounded_however_much_passes_through(serve: Serve, way: str) -> None:
    size = 600 << 20
    server = serve().ready()
    server.put("DataType", "film", codec="file", encodable="lazy_file")
    server.put("Table", "t", fields={"x": {"type": "int"}, "s": {"type": "str"}, "f": {"dataType": "film"}})
    server.insert("t", {"id": "first", "x": 1})
    block = bytes(range(256)) * 4096
    before = server.memory
    if way == "artifact":
        hasher = hashlib.sha1()
        for _ in range(size >> 20):
            hasher.update(block)
        body = (block for _ in range(size >> 20))
        id = server.client.put(f"/v1/artifacts/{hasher.hexdigest()}", content=body, timeout=120).json()["id"]
        received = 0
        with server.client.stream("GET", f"/v1/artifacts/{id}") as answer:
            for piece in answer.iter_raw():
                received += len(piece)
        assert received == size
        part = server.client.get(f"/v1/artifacts/{id}", headers={"range": f"bytes={size // 2}-{size // 2 + 99}"})
        assert part.content == block[:100]
    elif way == "row":
        head = b'--b\r\ncontent-disposition: form-data; name="row"\r\n\r\n{"id": "a"}\r\n--b\r\n'
        head += b'content-disposition: form-data; name="f"; filename="film.mp4"\r\n\r\n'
        parts = (head, *(block for _ in range(size >> 20)), b"\r\n--b--\r\n")
        answer = server.client.post(
            "/v1/tables/t/rows", content=iter(parts), timeout=120,
            headers={"content-type": "multipart/form-data; boundary=b"},
        )  # fmt: skip
        assert answer.status_code == 201, answer.text
        assert server.rows("t", filter='{"id": "a"}')[0]["f"]["$size"] == size
    else:
        text = "x" * 10_000
        lines = (ndjson({"id": str(n), "x": n, "s": text}) for n in range(20_000))
        assert server.client.post("/v1/tables/t/rows", content=lines, headers=NDJSON, timeout=120).status_code == 201
        seen = 0
        with server.client.stream("GET", "/v1/tables/t/rows") as answer:
            for line in answer.iter_lines():
                seen += len(json.loads(line)) > 0
        assert seen == 20_001
    assert server.memory - before < 100 << 20, f"{(server.memory - before) >> 20} MiB more"
    assert server.memory < 250 << 20


class forwarding:  # noqa: N801
    """A door to a database that is there as long as the context is open."""

    def __init__(self, port: int, to: int) -> None:
        self.port, self.to = port, to
        self.open: list[socket.socket] = []

    def __enter__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self.to))
            self.open += [near, far]
            for a, b in ((near, far), (far, near)):
                threading.Thread(target=self._pass, args=(a, b), daemon=True).start()

    def _pass(self, a: socket.socket, b: socket.socket) -> None:
        with suppress(OSError):
            while data := a.recv(65536):
                b.sendall(data)
        for one in (a, b):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def __exit__(self, *_: object) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for one in self.open:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
