"""Runs one server and ends it with the test session, however the session ends.

Usage: python -m tests.servers.guard DIRECTORY STOP_SIGNAL USER COMMAND...

Holds the lock `DIRECTORY/alive` while the server runs. The session holds the lock `DIRECTORY/../session`; once that
is free the session is gone, also by SIGKILL, and the guard ends the server and removes what it wrote.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from tests.servers.locks import FileLock, is_held

STOP_DEADLINE = 30.0


def main(directory: Path, stop_signal: int, user: str | None, command: list[str]) -> int:
    alive = FileLock(directory / "alive")
    alive.take(deadline=10)
    if os.fork():
        # The lock stays with the child, which is adopted by init: nobody has to wait for it.
        return 0
    asked: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda received, _frame: asked.append(received))
    (directory / "guard.pid").write_text(str(os.getpid()))
    with (directory / "log").open("ab") as log:
        server = subprocess.Popen(
            command,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            user=user,
            group=user,
            extra_groups=[] if user else None,
        )
        (directory / "server.pid").write_text(str(server.pid))
        while True:
            try:
                return server.wait(timeout=0.1)
            except subprocess.TimeoutExpired:
                session_gone = not is_held(directory.parent / "session")
                if asked or session_gone:
                    break
        _end(server, stop_signal)
    if session_gone:
        for link in [path for path in directory.iterdir() if path.is_symlink()]:
            shutil.rmtree(link.resolve(), ignore_errors=True)  # files of the server's that want a short path
        shutil.rmtree(directory, ignore_errors=True)
        with suppress(OSError):  # another server's guard may be the last, or the first
            if [path.name for path in directory.parent.iterdir()] == ["session"]:
                shutil.rmtree(directory.parent)
    return 0


def _end(server: subprocess.Popen[bytes], stop_signal: int) -> None:
    server.send_signal(stop_signal)
    try:
        server.wait(timeout=STOP_DEADLINE)
    except subprocess.TimeoutExpired:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


if __name__ == "__main__":
    _directory, _stop_signal, _user, *_command = sys.argv[1:]
    sys.exit(main(Path(_directory), int(_stop_signal), _user or None, _command))
