"""What every test server has in common: its folder, its port, its life.

All state stands in the server's folder, so that the workers of one session share a server without talking to each
other: any of them may start, stop or restart it.
"""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import ClassVar, TypeVar

from tests.servers.locks import FileLock, Unavailable, Usage, is_held

READY_DEADLINE = 90.0
REPOSITORY = Path(__file__).resolve().parents[2]


class Server(ABC):
    """One server on a free loopback port, with its data in a temporary folder."""

    name: ClassVar[str]
    #: What asks the server to end at once, without waiting for its clients.
    stop_signal: ClassVar[int] = signal.SIGTERM
    #: The account the server runs under where the tests run as root and the server refuses to.
    account: ClassVar[str | None] = None
    #: Whether each worker has one of its own, because tests change what all of its clients see.
    apart: ClassVar[bool] = False

    def __init__(self, root: Path, worker: str = "") -> None:
        self.worker = worker
        self.directory = root / (f"{self.name}@{worker}" if worker else self.name)
        self.directory.mkdir(mode=0o755, exist_ok=True)
        self._control = FileLock(self.directory / "control")
        self._usage = Usage(self.directory)

    # What a kind of server says about itself.

    @abstractmethod
    def install(self) -> None:
        """Make the data folder; called once, before the first start."""

    @abstractmethod
    def command(self) -> list[str]:
        """The command that runs the server in the foreground on `self.port`."""

    @abstractmethod
    def check(self) -> None:
        """Talk to the server once; any exception means that it is not ready."""

    @property
    @abstractmethod
    def uri(self) -> str:
        """The server's address, with credentials, without a database."""

    @abstractmethod
    def fresh(self) -> AbstractContextManager[str]:
        """The URI of a database or bucket that is empty, gone afterwards."""

    # Its life.

    @property
    def port(self) -> int:
        return int((self.directory / "port").read_text())

    @property
    def running(self) -> bool:
        return is_held(self.directory / "alive")

    def start(self) -> None:
        """Start the server unless it runs, and wait until it answers; again on the same port with the same data."""
        # First: whoever has stopped it for a test is alone with it, and it must stay stopped until that test is done.
        self._usage.share()
        try:
            with self._control.held():
                if not self.running:
                    self._start()
        except BaseException:
            self._usage.leave()
            raise

    def stop(self) -> None:
        """Stop the server once no other worker's test is using it; its clients lose their connections."""
        self._usage.alone()
        with self._control.held():
            self._stop()

    def restart(self) -> None:
        """Stop and start it, on the same port."""
        self.stop()
        self.start()

    def settle(self) -> None:
        """After a test: start the server again if the test left it stopped, and let other workers have it."""
        self.start()
        self._usage.leave()

    @contextmanager
    def database(self) -> Iterator[str]:
        """A fresh database for one test, which may stop and start the server meanwhile."""
        self.start()
        with self.fresh() as uri:
            try:
                yield uri
            finally:
                self.start()

    def destroy(self) -> None:
        """End the server at the end of the session, whoever uses it, and remove its folder."""
        with self._control.held():
            self._stop()
        self._usage.leave()
        shutil.rmtree(self.directory)

    def _start(self) -> None:
        installed = self.directory / "installed"
        if not installed.exists():
            self.install()
            (self.directory / "port").write_text(str(free_port()))
            installed.touch()
        # The guard leaves a process behind that is nobody's child, and returns once that one holds its lock.
        subprocess.run(
            [
                *(sys.executable, "-m", "tests.servers.guard"),
                *(str(self.directory), str(int(self.stop_signal)), self.user or ""),
                *self.command(),
            ],
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            check=True,
        )
        end = time.monotonic() + READY_DEADLINE
        while True:
            try:
                return self.check()
            except Exception as error:
                if not self.running or time.monotonic() > end:
                    self._stop()
                    raise Unavailable(f"{self.name} did not start: {error}\n{self._last_words()}") from error
            time.sleep(0.05)

    def _stop(self) -> None:
        if not self.running:
            return
        os.kill(int((self.directory / "guard.pid").read_text()), signal.SIGTERM)
        end = time.monotonic() + 60
        while self.running:
            if time.monotonic() > end:
                raise Unavailable(f"{self.name} did not stop within 60 s\n{self._last_words()}")
            time.sleep(0.02)

    def _last_words(self) -> str:
        log = self.directory / "log"
        return log.read_text(errors="replace")[-3000:] if log.exists() else "it wrote no log"

    @property
    def user(self) -> str | None:
        """The account to run under, or None to run under our own."""
        return self.account if os.geteuid() == 0 else None

    @property
    def owner(self) -> str:
        return self.user or getpass.getuser()

    def own(self, path: Path) -> Path:
        """Make the folder `path` anew for the server's account and return it."""
        if path.exists():  # left by an `install` that failed
            shutil.rmtree(path)
        path.mkdir(mode=0o700)
        if self.user:
            shutil.chown(path, self.user, self.user)
        return path

    def run_once(self, *command: str) -> None:
        """Run a set-up command under the server's account."""
        user = self.user
        done = subprocess.run(
            command,
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            user=user,
            group=user,
            extra_groups=[] if user else None,
            check=False,
        )
        if done.returncode:
            raise Unavailable(f"{command[0]} ended with {done.returncode}\n{done.stdout}{done.stderr}")


S = TypeVar("S", bound=Server)


@contextmanager
def running(kind: type[S], root: Path) -> Iterator[S]:
    """A server of one's own under the existing folder `root`, for as long as the block runs."""
    session = FileLock(root / "session")
    session.take()
    server = kind(root)
    try:
        server.start()
        yield server
    finally:
        server.destroy()
        session.release()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def program(name: str, *places: str) -> str:
    """The path of an installed program; `Unavailable` names what to do when it is missing."""
    for pattern in places:
        found = sorted(Path("/").glob(pattern.lstrip("/")), key=lambda path: path.as_posix())
        if found:
            return str(found[-1])
    path = shutil.which(name)
    if path is None:
        raise Unavailable(f"{name} is not installed; run scripts/setup test")
    return path


def cache() -> Path:
    """Where downloaded servers are kept between sessions."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(home) / "superduper-tests"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
