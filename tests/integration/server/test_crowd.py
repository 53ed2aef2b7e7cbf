"""Many at once: what all requests hold together is bounded, and who finds no room is told so and not left waiting."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx
import pytest

from superduper import Table, superduper, wire
from superduper.backends.http.artifacts import HttpArtifactStore
from superduper.datalayer import Datalayer
from superduper.query.tables import Column, TableDef
from tests.integration.server.conftest import Serve
from tests.integration.server.served import TOKEN, Served, code, wait_for

MIB = 1 << 20
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@contextmanager
def asked(server: Served, request: str, length: int = 0, body: bytes = b"") -> Iterator[socket.socket]:
    """A connection whose request has such a length, and of it only ``body`` is sent. Nothing of the answer is read."""
    url = httpx.URL(server.urls[0])
    with socket.create_connection((url.host, url.port), 20) as connection:
        head = f"{request} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: {length}\r\n\r\n"
        connection.sendall(head.encode() + body)
        yield connection


def refused(connection: socket.socket) -> bool:
    """Whether the answer, within the connection's deadline, is that the server is busy and when to come again."""
    seen = ""
    while not seen.endswith("}"):
        part = connection.recv(1 << 16).decode("latin-1").lower()
        assert part, f"the connection broke off after {seen!r}"
        seen += part
    return " 503 " in seen.splitlines()[0] and "retry-after: 2" in seen and '"code":"busy"' in seen


@pytest.fixture
def db(server: Served) -> Iterator[Datalayer]:
    with superduper(server.urls[0], token=TOKEN, defer=True) as made:
        made.apply(Table("t", fields={"s": "str"}))
        yield made


def test_calls_that_hold_too_much_together_are_refused_until_the_others_are_done(server: Served, db: Datalayer) -> None:
    insert, rows = "POST /v1/seams/data/insert", [{"id": f"r{n}", "s": "x" * MIB} for n in range(6)]
    done = threading.Event()

    def write() -> None:
        db.insert("t", rows)
        done.set()

    with ExitStack() as others:
        # None of it arrives, and room is kept for all of it.
        for size in (250, 130):
            others.enter_context(asked(server, insert, size * MIB))
        json = {"content": b" " * (8 * MIB), "headers": {**BEARER, "content-type": "application/json"}}

        def query() -> httpx.Response:
            return httpx.post(f"{server.urls[0]}/v1/tables/t/query", **json, timeout=20)

        wait_for("room being taken", lambda: query().status_code == 503)
        with asked(server, insert, 6 * MIB) as late:
            assert refused(late)
        json["content"] = iter([b" " * MIB] * 8)
        answer = query()
        assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, "Busy", "2")
        assert db["t"].count_documents().execute() == 0
        writer = threading.Thread(target=write)
        writer.start()
        # It is refused and comes again: after the others went away it is done.
        busy = 'superduper_requests_total{method="POST",route="/v1/seams/{part}/{method}",status="503"} '
        wait_for("refusals", lambda: f"{busy}2.0" in server.client.get("/metrics").text)
        assert not done.is_set()
    writer.join(20)
    assert done.is_set()
    assert db["t"].count_documents().execute() == 6
    with asked(server, insert, 250 * MIB), asked(server, insert, 140 * MIB) as late:
        assert refused(late)


def test_what_calls_held_is_given_back_whether_they_succeed_or_fail(serve: Serve) -> None:
    server = serve(SERVE_MAX_HELD="8MiB", SERVE_MAX_BODY="1MiB").ready()
    with superduper(server.urls[0], token=TOKEN, defer=True) as db:
        db.apply(Table("t", fields={"s": "str"}))
        for n in range(4):
            db.insert("t", [{"id": f"r{n}", "s": "x" * (5 * MIB)}])
            for body in (b"\xc1" * (5 * MIB), wire.dumps([["x" * (5 * MIB)], {}]), wire.dumps([["no" * MIB], {}])):
                for method in ("data/insert", "data/count", "data/select"):
                    assert server.client.post(f"/v1/seams/{method}", content=body).status_code == 400
            large = server.client.post("/v1/seams/data/insert", content=b"x" * (9 * MIB))
            assert (large.status_code, "at most 8 MiB" in str(wire.loads(large.content))) == (507, True)
            assert server.client.post("/v1/tables/t/query", content=b" " * MIB).status_code == 422
        assert db["t"].count_documents().execute() == 4


def test_short_rows_count_by_their_number(serve: Serve) -> None:
    server = serve(SERVE_MAX_HELD="8MiB", SERVE_MAX_BODY="1MiB").ready()
    table = TableDef("t", (Column("id", "str"), Column("n", "int"), Column("_fold", "str")), "id")

    def check(count: int) -> int:
        rows = [{"id": f"r{n}", "n": n, "_fold": "train"} for n in range(count)]
        return server.client.post("/v1/seams/data/check", content=wire.dumps([[table, rows], {}])).status_code

    # The larger one is beyond all room, and is taken while it is alone.
    assert [check(10_000), check(20_000)] == [200, 200]
    with asked(server, "POST /v1/seams/data/check", 5 * MIB):
        wait_for("a refusal", lambda: check(10_000) == 503)
        assert check(100) == 200
    wait_for("room", lambda: check(20_000) == 200)


def test_slow_readers_of_objects_leave_nobody_waiting_in_silence(serve: Serve) -> None:
    server = serve(SERVE_STREAMS="1").ready()
    store = HttpArtifactStore(server.urls[0].replace("http://", f"http://:{TOKEN}@"))
    data = bytes(range(256)) * (MIB >> 3)
    store.put("large", data)
    found: list[bytes] = []
    read = "GET /v1/seams/artifacts/object?key=large"
    with ExitStack() as slow:
        for _ in range(2):
            assert b" 200 " in slow.enter_context(asked(server, read)).recv(100)
        with asked(server, read) as late, asked(server, "PUT /v1/seams/artifacts/object?key=b", 1, b"x") as writer:
            assert refused(late)
            assert refused(writer)
        reader = threading.Thread(target=lambda: found.append(store.get("large")))
        reader.start()
        busy = 'route="/v1/seams/artifacts/object",status="503"} '
        wait_for("a refusal", lambda: f'method="GET",{busy}2.0' in server.client.get("/metrics").text)
    reader.join(20)
    assert found == [data]
    store.close()


def test_readers_that_are_gone_before_their_answer_begins_leave_no_stream_open(serve: Serve) -> None:
    server = serve(SERVE_STREAMS="1").ready()
    server.insert("t", {"id": "a", "x": 1}).raise_for_status()
    slow = code("import time\ndef f(x):\n    time.sleep(0.5)\n    return x\n")
    predict = {"table": "t", "inputs": ["x"], "trigger": "Manual"}
    server.put("Model", "m", object=slow, predict=predict).raise_for_status()
    body = wire.dumps([["m"], {"retry": True, "full": True}])
    for n in range(4):
        server.insert("t", {"id": f"r{n}", "x": n}).raise_for_status()
        with asked(server, "POST /v1/seams/models/run", len(body), body):
            wait_for("it being asked", lambda: "superduper_requests_active 2" in server.client.get("/metrics").text)
        wait_for("its end", lambda: "superduper_requests_active 1" in server.client.get("/metrics").text)
    artifacts = server.client.post("/v1/seams/metadata/artifacts", content=wire.dumps([[], {}]))
    assert artifacts.status_code == 200, artifacts.text
