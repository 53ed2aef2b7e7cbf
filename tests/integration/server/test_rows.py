"""Rows in and out over HTTP, and the portable query."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from tests.integration.server.served import NDJSON, Served, ndjson


def test_rows_come_as_lines_filtered_sorted_and_cut(shared: Served) -> None:
    assert shared.rows("t", filter='{"x": {"$gt": 6}}', fields="x", sort="-x") == [
        {"id": "r9", "x": 9},
        {"id": "r8", "x": 8},
        {"id": "r7", "x": 7},
    ]
    assert [row["x"] for row in shared.rows("t", sort="x", skip=2, limit=3)] == [2, 3, 4]
    assert shared.rows("t", filter='{"x": 99}') == []


@pytest.mark.parametrize(
    ("path", "status", "code", "says"),
    [
        ("/v1/tables/nope/rows", 404, "NotFound", "no table 'nope'"),
        ("/v1/tables/t/rows?fields=y", 400, "QueryError", "no field 'y'"),
        ("/v1/tables/t/rows?filter={", 400, "QueryError", "filter: not JSON"),
        ("/v1/tables/t/rows?filter=[1]", 400, "QueryError", "must be a JSON object"),
        ('/v1/tables/t/rows?filter={"x":{"$gtt":1}}', 400, "QueryError", "did you mean '$gt'"),
        ("/v1/tables/t/rows?limit=-1", 422, "BadRequest", "limit"),
        ("/v1/tables/t/rows?outputs=m", 404, "NotFound", "m"),
    ],
)
def test_a_wrong_question_is_answered_by_its_error(
    shared: Served, path: str, status: int, code: str, says: str
) -> None:
    answer = shared.client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert says in answer.json()["message"]
    assert set(answer.json()) == {"code", "message", "field"}


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"count": {"x": {"$lt": 3}}}, {"count": 3}),
        ({"distinct": {"field": "x", "filter": {"x": {"$lt": 2}}}}, {"values": [0, 1]}),
        ({"find": {"filter": {"x": 1}, "fields": ["s"]}}, {"rows": [{"id": "r1", "s": "s1"}]}),
        ({"find": {"sort": [["x", -1]], "limit": 1, "fields": ["x"]}}, {"rows": [{"id": "r9", "x": 9}]}),
    ],
)
def test_the_portable_query_is_asked_as_documents(shared: Served, asked: Any, expected: Any) -> None:
    answer = shared.client.post("/v1/tables/t/query", json=asked)
    assert (answer.status_code, answer.json()) == (200, expected)


@pytest.mark.parametrize(
    ("asked", "status", "says"),
    [
        ({}, 400, "exactly one of"),
        ({"count": {}, "find": {}}, 400, "exactly one of"),
        ({"finds": {}}, 422, "finds"),
        ({"update": {"filter": {}, "update": {"$sett": {}}}}, 400, "$sett"),
        ({"update": {"filter": {}, "update": {"$set": {"id": "q"}}}}, 400, "primary key"),
    ],
)
def test_a_wrong_operation_is_refused(shared: Served, asked: Any, status: int, says: str) -> None:
    answer = shared.client.post("/v1/tables/t/query", json=asked)
    assert answer.status_code == status
    assert says in answer.json()["message"]


def test_rows_are_changed_replaced_and_removed(server: Served) -> None:
    server.put("Table", "t", fields={"x": {"type": "int"}, "at": {"type": "datetime"}})
    assert server.insert("t", {"id": "a", "x": 1}, {"id": "b", "x": 2}).json() == {
        "inserted": 2, "ids": ["a", "b"], "jobs": [],
    }  # fmt: skip

    def ask(**operation: Any) -> Any:
        answer = server.client.post("/v1/tables/t/query", json=operation)
        assert answer.status_code == 200, answer.text
        return answer.json()

    assert ask(update={"filter": {"id": "a"}, "update": {"$set": {"at": "2024-05-01T12:00:00+00:00"}}})["ids"] == ["a"]
    assert ask(replace={"filter": {"id": "b"}, "document": {"x": 5}})["ids"] == ["b"]
    after = {"at": {"$gt": {"$date": "2024-04-01T00:00:00Z"}}}
    assert [row["at"] for row in server.rows("t", filter=json.dumps(after))] == ["2024-05-01T12:00:00+00:00"]
    assert ask(delete={"filter": {"x": 1}})["ids"] == ["a"]
    assert [(row["id"], row["x"]) for row in server.rows("t")] == [("b", 5)]


def test_a_batch_that_is_refused_leaves_those_before_it_and_says_so(server: Served) -> None:
    server.put("Table", "t", fields={"x": {"type": "int"}})
    good = [{"id": f"r{n}", "x": n} for n in range(500)]
    answer = server.client.post(
        "/v1/tables/t/rows", content=ndjson(*good, {"id": "q", "x": 1}, {"id": "r", "x": "one"}), headers=NDJSON
    )
    assert answer.status_code == 422
    said = answer.json()
    assert (said["code"], said["inserted"], len(said["ids"])) == ("SchemaMismatch", 500, 500)
    assert "line 502: field 'x'" in said["message"]
    assert server.client.post("/v1/tables/t/query", json={"count": {}}).json() == {"count": 500}

    twice = server.insert("t", {"id": "new", "x": 1}, {"id": "r7", "x": 7})
    assert (twice.status_code, twice.json()["code"], twice.json()["inserted"]) == (409, "DuplicateKey", 0)
    assert server.rows("t", filter='{"id": "new"}') == []


@pytest.mark.parametrize(
    ("body", "type", "status", "says"),
    [
        (b"{]\n", "application/x-ndjson", 422, "line 1: not JSON"),
        (b"[1]\n", "application/x-ndjson", 422, "must be a JSON object"),
        (b"\xff\xfe\n", "application/x-ndjson", 422, "line 1: not JSON"),
        (b"x", "image/png", 415, "application/x-ndjson"),
        (b"x", "multipart/form-data", 400, "boundary"),
        (b"x", "multipart/form-data; boundary=b", 400, "form"),
    ],
)
def test_a_body_that_is_no_rows_is_refused(shared: Served, body: bytes, type: str, status: int, says: str) -> None:
    answer = shared.client.post("/v1/tables/t/rows", content=body, headers={"content-type": type})
    assert answer.status_code == status, answer.text
    assert says in answer.json()["message"]


def test_payloads_come_as_base64_as_files_of_a_form_or_by_id_and_go_out_as_handles(server: Served) -> None:
    server.put("DataType", "raw", codec="bytes")
    server.put("DataType", "film", codec="file", encodable="lazy_file")
    server.put("Table", "t", fields={"x": {"type": "int"}, "p": {"dataType": "raw"}, "f": {"dataType": "film"}})
    server.insert("t", {"id": "a", "p": {"$base64": base64.b64encode(b"payload").decode()}}).raise_for_status()
    answer = server.client.post(
        "/v1/tables/t/rows",
        data={"row": json.dumps({"id": "b", "x": 3})},
        files={"p": ("p.bin", b"other"), "f": ("../../holiday.mp4", b"film" * 1000, "video/mp4")},
    )
    assert (answer.status_code, answer.json()["ids"]) == (201, ["b"]), answer.text
    a, b = server.rows("t", sort="id")
    assert (a["p"]["$type"], a["p"]["$size"]) == ("raw", 7)
    assert server.client.get(f"/v1/artifacts/{a['p']['$id']}").content == b"payload"
    assert server.client.get(f"/v1/artifacts/{b['p']['$id']}").content == b"other"
    film = server.client.get(f"/v1/artifacts/{b['f']['$id']}")
    assert film.content == b"film" * 1000
    assert "holiday.mp4" in film.headers["content-disposition"]

    # What was shown is understood.
    again = server.insert("t", {"id": "c", "x": 4, "p": b["p"], "f": b["f"]})
    assert again.status_code == 201, again.text
    c = server.rows("t", filter='{"id": "c"}')[0]
    assert (c["p"], c["f"]) == (b["p"], b["f"])


def test_a_text_never_names_a_file_of_the_server(server: Served) -> None:
    server.put("DataType", "raw", codec="bytes")
    server.put("Table", "t", fields={"p": {"dataType": "raw"}})
    answer = server.insert("t", {"id": "a", "p": "/etc/passwd"})
    assert answer.status_code == 422
    assert "a text names no file here" in answer.json()["message"]


def test_a_table_without_a_schema_has_one_inferred(server: Served) -> None:
    assert server.insert("fresh", {"id": "a", "n": 1, "s": "x"}).status_code == 201
    assert server.rows("fresh")[0] | {"_fold": ""} == {"id": "a", "n": 1, "s": "x", "_fold": ""}


def test_what_json_has_not_is_written_so_that_json_reads_it(server: Served) -> None:
    server.put("Table", "t", fields={"x": {"type": "float"}})
    server.insert("t", {"id": "a", "x": {"$number": "-inf"}}, {"id": "b", "x": {"$number": "inf"}}).raise_for_status()
    assert [row["x"] for row in server.rows("t", sort="id")] == [{"$number": "-inf"}, {"$number": "inf"}]
