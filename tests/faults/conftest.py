"""Datalayers on every databackend, and processes that can be killed."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from superduper import Datalayer, superduper

SYSTEMS = ("sqlite", "mongomock", "postgres", "mariadb", "mongo")
Open = Callable[..., Datalayer]


@pytest.fixture(params=SYSTEMS)
def uri(request: pytest.FixtureRequest) -> str:
    """An empty database on each system."""
    return str(request.getfixturevalue(f"{request.param}_uri"))


@pytest.fixture(params=("sqlite", "postgres", "mariadb"))
def shared_uri(request: pytest.FixtureRequest) -> str:
    """An empty database that several processes can use and that survives each of them."""
    return str(request.getfixturevalue(f"{request.param}_uri"))


@pytest.fixture
def store_uri(tmp_path: Path) -> str:
    return f"filesystem://{tmp_path}/artifacts"


@pytest.fixture
def connect(tmp_path: Path, store_uri: str) -> Iterator[Open]:
    """Opens datalayers with their artifacts in the file system, and closes them."""
    opened: list[Datalayer] = []

    def make(uri: str, **options: Any) -> Datalayer:
        db = superduper(uri, **{"artifact_store": store_uri, "home": str(tmp_path / "home"), **options})
        opened.append(db)
        return db

    yield make
    for db in opened:
        db.close()


@pytest.fixture
def db(uri: str, connect: Open) -> Datalayer:
    """A datalayer on each system."""
    return connect(uri)


@pytest.fixture
def lite(sqlite_uri: str, connect: Open) -> Datalayer:
    """A datalayer on SQLite."""
    return connect(sqlite_uri)


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts Python processes on a text of code; what still runs at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def run(code: str, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def blobs(folder: Path) -> list[Path]:
    """Files of the store that hold payloads: loose ones and packs."""
    loose = [path for path in folder.iterdir() if path.is_file() and len(path.name) in (40, 64)]
    return sorted([*loose, *folder.glob("packs/*.pack")])
