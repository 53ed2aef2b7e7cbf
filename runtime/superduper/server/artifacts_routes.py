"""``/v1/artifacts``: payloads by id, files and folders as tar; streamed both ways, verified on every read."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel
from starlette.responses import JSONResponse, Response

from superduper.server import streams
from superduper.server.access import Db, Server, in_thread
from superduper.server.ranges import Unsatisfiable, is_known, wanted
from superduper.server.stored import Found, find, pieces, put_blob, put_tree
from superduper.server.tars import packed

router = APIRouter(prefix="/v1/artifacts", tags=["artifacts"])
BINARY = "application/octet-stream"
_BODY: dict[str, Any] = {"requestBody": {"content": {BINARY: {"schema": {"type": "string", "format": "binary"}}}}}


class Stored(BaseModel):
    """What was stored."""

    id: str
    reference: str
    size: int


@router.api_route("/{id}", methods=["GET", "HEAD"], summary="An artifact's bytes", response_class=Response)
async def get(
    server: Server,
    db: Db,
    request: Request,
    id: str,
    tar: Annotated[bool, Query(description="A file or folder as a tar archive.")] = False,
) -> Response:
    """``Range`` gives a part. The ``ETag`` is the id. Of a stored file, the file's bytes; a folder is given with ``?tar=1``."""
    found = await in_thread(server.threads, find, db, id, folder=tar)
    headers = {"ETag": f'"{found.id}"', "Cache-Control": "private, max-age=31536000, immutable"}
    if found.name:
        headers["Content-Disposition"] = _disposition(found.name + (".tar" if tar else ""))
    if is_known(request.headers.get("if-none-match"), found.id):
        return Response(status_code=304, headers=headers)
    if tar:
        if request.method == "HEAD":
            return Response(headers=headers, media_type="application/x-tar")
        assert found.tree is not None
        return await streams.answer(
            server, partial(packed, db, found.tree), media_type="application/x-tar", headers=headers
        )
    headers["Accept-Ranges"] = "bytes"
    return await _part(server, db, request, found, headers)


async def _part(server: Server, db: Db, request: Request, found: Found, headers: dict[str, str]) -> Response:
    condition = request.headers.get("if-range")
    asked = request.headers.get("range") if condition is None or is_known(condition, found.id) else None
    try:
        part = wanted(asked, found.size) if request.method == "GET" else None
    except Unsatisfiable as error:
        headers["Content-Range"] = f"bytes */{found.size}"
        said = {"code": "Unsatisfiable", "message": str(error), "field": "Range"}
        return JSONResponse(said, 416, headers)
    start, length = part or (0, found.size)
    headers["Content-Length"] = str(length)
    if part is not None:
        headers["Content-Range"] = f"bytes {start}-{start + length - 1}/{found.size}"
    if request.method == "HEAD" or length == 0:
        return Response(b"", 200, headers, BINARY)
    make = partial(pieces, db, found.blob, start, length)
    return await streams.answer(server, make, media_type=BINARY, status=200 if part is None else 206, headers=headers)


@router.put("/{id}", summary="Store an artifact whose id is known", response_model=Stored, openapi_extra=_BODY)
async def put(
    server: Server,
    db: Db,
    request: Request,
    id: str,
    tree: Annotated[bool, Query(description="The body is a tar of one file or folder.")] = False,
) -> Any:
    """The same twice does nothing. Refused where the bytes have another id; nothing is kept of them then."""
    store = partial(put_tree if tree else put_blob, db, expected=id)
    return _stored(await streams.take(server, request, store), 200)


@router.post("", summary="Store an artifact", status_code=201, response_model=Stored, openapi_extra=_BODY)
async def post(
    server: Server,
    db: Db,
    request: Request,
    tree: Annotated[bool, Query(description="The body is a tar of one file or folder.")] = False,
) -> Any:
    """Its id is the hash of its bytes. ``gc`` removes it again unless a row comes to need it within a day."""
    store = partial(put_tree if tree else put_blob, db, expected=None)
    return _stored(await streams.take(server, request, store), 201)


def _stored(found: tuple[str, str, int], status: int) -> Response:
    id, reference, size = found
    return JSONResponse({"id": id, "reference": reference, "size": size}, status)


def _disposition(name: str) -> str:
    from urllib.parse import quote

    return f"attachment; filename*=UTF-8''{quote(name.encode('utf-8', 'surrogateescape'), safe='')}"
