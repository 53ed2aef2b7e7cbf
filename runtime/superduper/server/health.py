"""How the server is, for probes, the operator and Prometheus."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel
from starlette.responses import JSONResponse, Response

from superduper import __version__
from superduper.datalayer import Datalayer
from superduper.errors import SuperduperError
from superduper.server import failures
from superduper.server.access import Draining, Server, in_thread
from superduper.server.metrics import CONTENT_TYPE_LATEST
from superduper.uris import without_password

router = APIRouter(tags=["health"])
SINGLE_WRITER = ("sqlite", "duckdb", "filesystem")
"""Stores that one process opens."""


class Info(BaseModel):
    """What the server says of itself. URIs are without passwords."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    version: str
    databackend: str
    metadata: str
    artifact_store: str
    compute: str
    single_writer: bool
    objects: dict[str, str]
    """Revision by ``Kind/name``: it changes whenever the answer for that object does."""


@router.get("/healthz", summary="Whether the process works")
async def healthz(server: Server) -> Response:
    """200 while the process works, whatever its stores do: slow and silent ones are the business of /readyz.

    503 where a restart is all that helps: the look-out's thread has ended, or no request's thread came free for ten minutes.
    """
    stuck = server.stuck()
    if stuck is not None:
        return JSONResponse(failures.body("Stuck", stuck), 503)
    return JSONResponse({"status": "ok"})


@router.get("/readyz", summary="Whether requests should be sent here")
async def readyz(server: Server) -> Response:
    """200 once it is connected to its stores, and until it is told to stop."""
    if server.draining:
        return failures.answer(Draining("the server is about to stop"))
    error = server.connection.error()
    return JSONResponse({"status": "ok"}) if error is None else unavailable(error)


@router.get("/metrics", summary="Figures for Prometheus")
async def metrics(server: Server) -> Response:
    """Requests, rows, bytes, pending rows, background work."""
    return Response(server.metrics.text(), media_type=CONTENT_TYPE_LATEST)


@router.get("/v1/info", response_model=Info, summary="Version, stores, revisions of the objects")
async def info(server: Server) -> Any:
    """503 with the error while it cannot reach its stores: it keeps trying."""
    error = server.connection.error()
    if error is not None:
        return unavailable(error)
    return await in_thread(server.threads, _info, server, server.connection.get())


def _info(server: Any, db: Datalayer) -> Info:
    uris = (db.databackend.uri, db.metadata.uri, db.artifact_store.uri)
    return Info(
        version=__version__,
        databackend=without_password(uris[0]),
        metadata=without_password(uris[1]),
        artifact_store=without_password(uris[2]),
        compute=without_password(server.compute),
        single_writer=any(uri.partition("://")[0].partition("+")[0] in SINGLE_WRITER for uri in uris),
        objects=server.objects.revisions(db),
    )


def unavailable(error: SuperduperError) -> Response:
    """The error, always as 503: it is not this request that is wrong."""
    answer = failures.answer(error)
    answer.status_code = 503
    answer.headers.setdefault("Retry-After", failures.RETRY_SECONDS)
    return answer
