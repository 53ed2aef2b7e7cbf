"""The artifact stores, each as a fresh, empty one, on a real server where it is one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from superduper.artifacts import Artifacts
from superduper.backends.base.artifacts import ArtifactStore


def _filesystem(request: pytest.FixtureRequest) -> ArtifactStore:
    from superduper.backends.filesystem.artifacts import FileSystemArtifactStore

    folder: Path = request.getfixturevalue("tmp_path")
    return FileSystemArtifactStore(f"filesystem://{folder}/artifacts")


def _memory(request: pytest.FixtureRequest) -> ArtifactStore:
    from superduper.backends.memory.artifacts import MemoryArtifactStore

    return MemoryArtifactStore("memory://")


def _gridfs(request: pytest.FixtureRequest) -> ArtifactStore:
    from superduper.backends.mongodb.artifacts import MongoArtifactStore

    return MongoArtifactStore(request.getfixturevalue("mongo_uri"))


def _gridfs_mock(request: pytest.FixtureRequest) -> ArtifactStore:
    from superduper.backends.mongodb.artifacts import MongoArtifactStore

    return MongoArtifactStore(request.getfixturevalue("mongomock_uri"))


def _s3_obstore(request: pytest.FixtureRequest) -> ArtifactStore:
    from superduper.backends.s3.artifacts import S3ArtifactStore

    return S3ArtifactStore(request.getfixturevalue("s3_uri"))


def _s3_boto3(request: pytest.FixtureRequest) -> ArtifactStore:
    from superduper.backends.s3.artifacts import S3ArtifactStore

    return S3ArtifactStore(f"{request.getfixturevalue('s3_uri')}&driver=boto3")


def _http(request: pytest.FixtureRequest) -> ArtifactStore:
    from superduper.backends.http.artifacts import HttpArtifactStore

    return HttpArtifactStore(request.getfixturevalue("http_sqlite_uri"))


def _http_s3(request: pytest.FixtureRequest) -> ArtifactStore:
    from superduper.backends.http.artifacts import HttpArtifactStore

    return HttpArtifactStore(request.getfixturevalue("http_s3_uri"))


STORES: dict[str, Callable[[pytest.FixtureRequest], ArtifactStore]] = {
    "filesystem": _filesystem,
    "memory": _memory,
    "gridfs": _gridfs,
    "gridfs-mongomock": _gridfs_mock,
    "s3-obstore": _s3_obstore,
    "s3-boto3": _s3_boto3,
    # By way of a datalayer's server.
    "http-filesystem": _http,
    "http-s3": _http_s3,
}


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest) -> Iterator[ArtifactStore]:
    opened = STORES[request.param](request)
    yield opened
    opened.drop()
    opened.close()


@pytest.fixture
def artifacts(store: ArtifactStore) -> Artifacts:
    return Artifacts(store)
