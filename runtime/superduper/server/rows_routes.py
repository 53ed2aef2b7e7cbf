"""``/v1/tables``: rows out and in, streamed, and the portable query."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, Response

from superduper.embedded.view import peek
from superduper.errors import QueryError
from superduper.server import failures, query, streams
from superduper.server.access import Db, Server, in_thread
from superduper.server.inserting import BrokenInsert, Inserter
from superduper.server.named import named
from superduper.server.values import loads, shown

router = APIRouter(prefix="/v1/tables", tags=["rows"])


class Inserted(BaseModel):
    """What is durable."""

    inserted: int
    ids: list[Any] | None = Field(description="Primary keys; null where they are more than a million.")
    jobs: list[Any] = Field(description="Empty: models are run in the background.")


@router.get("/{table}/rows", summary="Rows, a JSON object a line", response_class=Response)
async def rows(
    server: Server,
    db: Db,
    table: str,
    filter: Annotated[str, Query(description='As {"x": {"$gt": 3}}.')] = "{}",
    fields: Annotated[str, Query(description="These fields only: a,b.")] = "",
    sort: Annotated[str, Query(description="In this order; - is descending: a,-b.")] = "",
    skip: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=0, description="0: all.")] = 0,
    outputs: Annotated[str, Query(description="Join these models' outputs: m,n.")] = "",
) -> Response:
    """Streamed, however many. Payloads stand as ``{"$type", "$size", "$id"}``; ``GET /v1/artifacts/ID`` has them."""
    chosen = loads(filter, "filter")
    if not isinstance(chosen, dict):
        raise QueryError('filter: it must be a JSON object, as {"x": 3}')
    words = partial(_words, fields), partial(_words, sort), partial(_words, outputs)

    def make() -> Any:
        found = peek(
            db,
            named(server, db, "Table", table),
            chosen,
            fields=words[0](),
            sort=[(word.removeprefix("-"), -1 if word.startswith("-") else 1) for word in words[1]()],
            skip=skip,
            limit=limit or None,
            outputs=[named(server, db, "Model", name) for name in words[2]()],
        )
        counted = server.metrics.rows.labels("sent")
        for piece in streams.lines(found, shown):
            counted.inc(piece.count(b"\n"))
            yield piece

    return await streams.answer(server, make, media_type=streams.NDJSON)


@router.post(
    "/{table}/rows",
    summary="Insert rows",
    response_model=Inserted,
    openapi_extra={
        "requestBody": {
            "content": {
                streams.NDJSON: {"schema": {"type": "string", "description": "A row a line."}},
                "multipart/form-data": {
                    "schema": {"type": "object", "properties": {"row": {"type": "string", "description": "JSON"}}}
                },
            }
        }
    },
)
async def insert(server: Server, db: Db, table: str, request: Request) -> Any:
    """A row a line, in batches each of which is in whole or not at all; or a single row as a form with files.

    An error's answer says in ``inserted`` and ``ids`` what is durable all the same.
    """
    kind = request.headers.get("content-type", streams.NDJSON)
    found = await in_thread(server.threads, named, server, db, "Table", table)
    counted = server.metrics.rows.labels("inserted")

    def told(number: int) -> None:
        counted.inc(number)
        server.background.kick()

    inserter = Inserter(db, found, int(server.settings.max_row), told)
    if kind.lower().startswith("multipart/"):
        done = await streams.take(server, request, lambda body: inserter.form(body, kind))
        return JSONResponse(done.body, 201)
    if not any(word in kind.lower() for word in ("json", "text/plain", "octet-stream", "x-www-form-urlencoded")):
        return JSONResponse(failures.body("UnsupportedMediaType", f"rows come as {streams.NDJSON}, not {kind}"), 415)
    try:
        done = await streams.take(server, request, inserter.lines)
    except BrokenInsert as broken:
        return failures.answer(broken.error, **broken.done.body)
    return JSONResponse(done.body, 201)


@router.post("/{table}/query", summary="Find, count, distinct, update, replace, delete")
async def ask(server: Server, db: Db, table: str, asked: query.Query) -> Response:
    """One operation of the portable query. Answers are bounded: ``GET …/rows`` streams."""
    answer = await in_thread(server.threads, query.run, server, db, table, asked)
    return Response(answer, media_type="application/json")


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]
