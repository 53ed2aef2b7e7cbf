"""One process, two doors: the public one, with TLS where that is given, and the plain one for the operator."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn

from superduper.errors import ConfigError
from superduper.server.app import create_app
from superduper.server.state import State

log = logging.getLogger("superduper.server")

CLOSE_SECONDS = 3
"""Connections have so long to close once their requests are cut off."""


class _Door(uvicorn.Server):
    """One listener. Signals are the business of whoever opened all of them."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def serve(state: State, opened: Callable[[list[str]], None] = lambda _: None) -> None:
    """Serve until SIGTERM or SIGINT, then drain. ``opened`` is given the addresses. Raises ConfigError."""
    asyncio.run(_serve(state, opened))


async def _serve(state: State, opened: Callable[[list[str]], None]) -> None:
    settings = state.settings
    app = create_app(state)
    tls: dict[str, Any] = {}
    if settings.tls_cert is not None:
        tls = {"ssl_certfile": str(settings.tls_cert), "ssl_keyfile": str(settings.tls_key)}
    public, admin = _listening(settings.host, settings.port), _listening(settings.host, settings.admin_port)
    try:
        doors = [(_door(app, **tls), public), (_door(app), admin)]
        for door, _ in doors:
            door.config.load()
    except (OSError, ValueError) as error:
        raise ConfigError(f"superduper serve: --tls-cert and --tls-key cannot be used: {error}") from error
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    state.start()
    tasks = [asyncio.create_task(door.serve([found])) for door, found in doors]
    opened([_address("https" if tls else "http", public), _address("http", admin)])
    await asyncio.wait([*tasks, stopping := asyncio.create_task(stop.wait())], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    await _drain(state, [door for door, _ in doors], tasks)


async def _drain(state: State, doors: list[_Door], tasks: list[asyncio.Task[None]]) -> None:
    seconds = state.settings.drain_seconds
    log.info("told to stop: no more writes are taken; %d requests have %g s to end", state.active, seconds)
    state.drain()
    all_done = await _quiet(lambda: not state.active and state.background.idle, seconds) or not state.active
    if not all_done:
        log.warning("%d requests are cut off; whole batches of theirs are kept", state.active)
    for door in doors:
        door.should_exit = True
        # What is cut off is not waited for.
        door.force_exit = not all_done
    await asyncio.wait(tasks, timeout=CLOSE_SECONDS)
    state.close()
    for task in tasks:
        task.cancel()
    log.info("stopped")
    if not all_done or not state.background.idle:
        # A thread that is in the middle of something would keep the process; what it writes is whole or not at all.
        logging.shutdown()
        os._exit(0)


async def _quiet(quiet: Callable[[], bool], seconds: float) -> bool:
    """Wait until nothing is under way. Whether that was within the time."""
    deadline = time.monotonic() + seconds
    while not (done := quiet()) and time.monotonic() < deadline:  # noqa: ASYNC110 - threads change it too
        await asyncio.sleep(0.05)
    return done


def _door(app: Any, **more: Any) -> _Door:
    config = uvicorn.Config(
        app, http="httptools", ws="none", lifespan="off", loop="asyncio", log_config=None, access_log=False,
        timeout_keep_alive=30, timeout_graceful_shutdown=CLOSE_SECONDS, server_header=False, backlog=512, **more,
    )  # fmt: skip
    return _Door(config)


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Only where the protocol is named does asyncio send small answers at once; else each waits 40 ms for the client's ACK.
    found = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, port))
    except OSError as error:
        found.close()
        raise ConfigError(f"superduper serve: cannot listen on {host}:{port}: {error.strerror or error}") from error
    return found


def _address(scheme: str, found: socket.socket) -> str:
    host, port = found.getsockname()[:2]
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
