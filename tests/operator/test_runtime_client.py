"""The operator's client of a datalayer's server, against a server that answers as it is told."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from superduper.api.v1alpha1 import Reason
from superduper_operator.runtime_client import Info, Refused, RuntimeClient, ServerDown


def asked(status: int, body: dict[str, Any], *, after: float = 0.0, deadline: float = 10.0) -> Info | Exception:
    """What comes of a question that is answered so, after so many seconds."""

    async def answer(_: web.Request) -> web.Response:
        await asyncio.sleep(after)
        return web.Response(status=status, text=json.dumps(body), content_type="application/json")

    async def ask() -> Info | Exception:
        app = web.Application()
        app.router.add_get("/v1/info", answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]
        try:
            async with aiohttp.ClientSession() as session:
                return await RuntimeClient(session, f"http://127.0.0.1:{port}", "t", deadline=deadline).info()
        except (Refused, ServerDown) as error:
            return error
        finally:
            await runner.cleanup()

    return asyncio.run(ask())


@pytest.mark.parametrize("code", ["Draining", "Busy"])
def test_a_server_that_takes_nothing_for_a_moment_is_asked_again_and_blamed_for_nothing(code: str) -> None:
    found = asked(503, {"code": code, "message": "try again"})
    assert isinstance(found, ServerDown)
    assert str(found) == "try again"


def test_an_error_of_the_stores_is_told_as_what_it_is() -> None:
    found = asked(503, {"code": "Unreachable", "message": "no such host"})
    assert isinstance(found, Refused)
    assert (found.reason, found.message) == (Reason.UNREACHABLE, "no such host")


def test_a_token_that_the_server_refuses_is_an_error_that_says_what_to_do() -> None:
    found = asked(401, {"code": "Unauthorized", "message": "give the datalayer's token"})
    assert isinstance(found, Refused)
    assert found.reason is Reason.ACCESS_DENIED
    assert all(word in found.message for word in ("delete that Secret", "superduper.io/restart"))


def test_no_answer_within_the_deadline_of_the_settings_is_said_with_its_seconds() -> None:
    found = asked(200, {"version": "1"}, after=5, deadline=0.2)
    assert isinstance(found, ServerDown)
    assert "within 0.2 s" in str(found)
