"""A MongoDB server on the wire: mongo-java-server, which speaks the protocol over data in memory.

It is a double, not MongoDB: it has no authentication and no transactions, and a restart empties it.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from tests.servers.base import Server, cache, program, running
from tests.servers.locks import FileLock, Unavailable

SOURCES = Path(__file__).with_name("mongo_wire")


class MongoServer(Server):
    name = "mongo"

    def install(self) -> None:
        jars()

    def command(self) -> list[str]:
        folder = jars()
        # All that two workers keep at once is in its memory; with too little it collects garbage and answers nobody.
        options = ("-Xmx1g", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
        return [program("java"), *options, "-cp", f"{folder}/classes:{folder}/lib/*", "Serve", str(self.port)]

    def check(self) -> None:
        self._administer("admin", "ping")

    @property
    def uri(self) -> str:
        return f"mongodb://127.0.0.1:{self.port}"

    @contextmanager
    def fresh(self) -> Iterator[str]:
        name = f"t_{uuid.uuid4().hex}"
        try:
            yield f"{self.uri}/{name}"
        finally:
            self._administer(name, "dropDatabase")

    def _administer(self, database: str, command: str) -> None:
        from pymongo import MongoClient

        client: MongoClient[dict[str, object]] = MongoClient(self.uri, serverSelectionTimeoutMS=2000)
        with client:
            client[database].command(command)


def jars() -> Path:
    """The folder with the server's jars and our start class, fetched and compiled on first use and kept."""
    pom, source = SOURCES / "pom.xml", SOURCES / "Serve.java"
    digest = hashlib.sha256(pom.read_bytes() + source.read_bytes()).hexdigest()[:16]
    folder = cache() / f"mongo-wire-{digest}"
    with FileLock(cache() / "mongo-wire.lock").held():
        if not folder.exists():
            made = Path(tempfile.mkdtemp(dir=cache()))
            try:
                # The build's own files go to the copy of the pom, not into the work tree.
                shutil.copy(pom, made)
                goal = "dependency:copy-dependencies"
                _run(program("mvn"), "-q", "-B", "-f", f"{made}/pom.xml", goal, f"-DoutputDirectory={made}/lib")
                _run(program("javac"), "-cp", f"{made}/lib/*", "-d", f"{made}/classes", str(source))
                made.rename(folder)
            finally:
                shutil.rmtree(made, ignore_errors=True)
    return folder


def _run(*command: str) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unavailable(f"{command[0]} ended with {done.returncode}\n{done.stdout[-3000:]}{done.stderr[-3000:]}")


def start(root: Path) -> AbstractContextManager[MongoServer]:
    return running(MongoServer, root)


if __name__ == "__main__":
    print(jars())
