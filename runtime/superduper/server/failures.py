"""Errors as answers: one JSON shape, never a traceback."""

from __future__ import annotations

import logging
import re
import uuid
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from superduper.errors import ManifestError, SuperduperError
from superduper.server.access import Draining, TooLarge, Unauthorized
from superduper.server.statuses import status_of

log = logging.getLogger("superduper.server")

RETRY_SECONDS = "2"
_FIELD = re.compile(r"^([A-Za-z][\w-]*(?:\.[\w-]+|\[\d+\])*): ")
_CODES = {
    400: "BadRequest",
    404: "NotFound",
    405: "MethodNotAllowed",
    413: "TooLarge",
    415: "UnsupportedMediaType",
    503: "Busy",
}


def body(code: str, message: str, field: str | None = None, **more: Any) -> dict[str, Any]:
    """The shape of every error."""
    return {"code": code, "message": message, "field": field, **more}


def field_of(error: SuperduperError) -> str | None:
    """The field that the message of a wrong manifest begins with."""
    found = _FIELD.match(str(error)) if isinstance(error, ManifestError) else None
    return found.group(1) if found else None


def answer(error: BaseException, **more: Any) -> JSONResponse:
    """The answer that says the error. What is no error of ours is logged, and said without its details."""
    headers = {}
    match error:
        case SuperduperError():
            status, said = status_of(error), body(type(error).__name__, str(error), field_of(error), **more)
        case Unauthorized():
            status, said = 401, body("Unauthorized", str(error))
            headers["WWW-Authenticate"] = "Bearer"
        case Draining():
            status, said = 503, body(type(error).__name__, str(error), **more)
        case TooLarge():
            status, said = 413, body("TooLarge", str(error), **more)
        case HTTPException():
            status, said = error.status_code, body(_CODES.get(error.status_code, "Refused"), str(error.detail), **more)
            headers |= error.headers or {}
        case _:
            number = uuid.uuid4().hex[:12]
            log.error("a fault of the server, %s", number, exc_info=error)
            status = 500
            said = body("InternalError", f"this is a fault of the server; its log has it under {number}", **more)
    if status == 503:
        headers["Retry-After"] = RETRY_SECONDS
    return JSONResponse(said, status, headers)


def add_to(app: FastAPI) -> None:
    """Let the application answer so."""

    async def plain(_: Request, error: Exception) -> Response:
        return answer(error)

    async def invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"][1:]) or str(first["loc"][0])
        return JSONResponse(body("BadRequest", f"{place}: {first['msg']}", place), 422)

    async def gone(_: Request, __: Exception) -> Response:
        # Nobody is there to read it.
        return Response(status_code=499)

    for kind in (SuperduperError, Unauthorized, Draining, TooLarge, HTTPException):
        app.add_exception_handler(kind, plain)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(ClientDisconnect, gone)
    app.add_exception_handler(Exception, plain)
