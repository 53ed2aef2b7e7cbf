"""What fails /healthz, at which Kubernetes restarts the server: never that a store is slow."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from superduper import superduper
from superduper.server import background
from superduper.server.app import create_app
from superduper.server.settings import ServerSettings
from superduper.server.state import State
from tests.integration.server.served import wait_for


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    settings = ServerSettings(scan_seconds=0.05)
    found = State(settings, token="t", connect=lambda: superduper(f"sqlite:///{tmp_path}/x.db", defer=True))
    yield found
    found.close()


def healthz(state: State) -> httpx.Response:
    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(create_app(state)), base_url="http://x") as client:
            return await client.get("/healthz")

    return asyncio.run(ask())


def test_a_look_out_that_waits_for_a_store_is_told_and_no_reason_to_restart(
    state: State, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(background, "LONG_LOOK", 0.2)
    answers = threading.Event()
    monkeypatch.setattr(state.objects, "look", lambda _: answers.wait(30))
    caplog.set_level(logging.WARNING)
    state.start()
    try:
        wait_for("the warning", lambda: "has waited for the stores" in caplog.text)
        assert healthz(state).status_code == 200
        assert state.metrics.scan.collect()[0].samples[0].value > 0.2
    finally:
        answers.set()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_look_out_that_has_ended_is_a_reason_at_once(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    class Ended(BaseException):
        pass

    def look(_: object) -> None:
        raise Ended

    assert healthz(state).status_code == 200
    monkeypatch.setattr(state.objects, "look", look)
    state.start()
    answer = wait_for("the failure", lambda: (a := healthz(state)).status_code == 503 and a)
    assert "has ended" in answer.json()["message"]
