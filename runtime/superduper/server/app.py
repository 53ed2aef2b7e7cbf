"""The application: its routes, and how it answers errors."""

from __future__ import annotations

from fastapi import FastAPI

from superduper import __version__
from superduper.server import artifacts_routes, failures, health, models_routes, objects_routes, rows_routes, seams
from superduper.server.access import datalayer
from superduper.server.gate import Gate
from superduper.server.state import State


def create_app(state: State) -> FastAPI:
    """The routes of one datalayer's server. ``state`` is started and closed by whoever serves it."""
    app = FastAPI(
        title="superduper datalayer",
        version=__version__,
        summary="The runtime with a door: objects, rows, artifacts and models of one datalayer.",
        redoc_url=None,
    )
    app.state.server = state
    failures.add_to(app)
    app.include_router(health.router)
    for part in (objects_routes, rows_routes, models_routes, artifacts_routes):
        app.include_router(part.router)
    app.include_router(seams.router(datalayer, lambda part, _: _changed(state, part), _limits(state)))
    app.add_middleware(Gate, state=state)
    return app


def _limits(state: State) -> seams.Limits:
    return seams.Limits(state.budget, 2 * state.settings.streams)


def _changed(state: State, part: str) -> None:
    if part == "data":
        state.background.kick()
