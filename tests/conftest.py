"""Fixtures for all tests: a clean environment, and an empty database or bucket on a real server."""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers import ray
from tests.servers.apiserver import ApiServer, EtcdServer
from tests.servers.dask import DaskScheduler, DaskWorkers
from tests.servers.datalayer import SeamsServer
from tests.servers.fleet import Fleet, Harbour
from tests.servers.mariadb import MariaDBServer
from tests.servers.mongo import MongoServer
from tests.servers.postgres import PostgresServer
from tests.servers.ray import RayHead
from tests.servers.s3 import ACCESS_KEY, REGION, SECRET_KEY, S3Server

HARBOUR = pytest.StashKey[Harbour]()
ROOT = "superduper_servers"


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        config.stash[HARBOUR] = Harbour()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    node.workerinput[ROOT] = str(node.config.stash[HARBOUR].root)


def pytest_unconfigure(config: pytest.Config) -> None:
    harbour = config.stash.get(HARBOUR, None)
    if harbour is not None:
        harbour.close()


@pytest.fixture(scope="session")
def fleet(request: pytest.FixtureRequest) -> Fleet:
    worker = getattr(request.config, "workerinput", None)
    if worker is None:
        return Fleet(request.config.stash[HARBOUR].root)
    return Fleet(Path(worker[ROOT]), worker["workerid"])


@pytest.fixture(autouse=True)
def _settled(fleet: Fleet) -> Iterator[None]:
    """No test finds a server stopped that an earlier one stopped."""
    yield
    fleet.settle()


@pytest.fixture(autouse=True)
def _clean_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings of whoever runs the tests do not reach them."""
    for name in [name for name in os.environ if name.upper().startswith("SUPERDUPER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SUPERDUPER_HOME", str(tmp_path))
    read_settings_anew()


def read_settings_anew() -> None:
    """Settings that this process has read already are read again, after a change of the environment."""
    config = sys.modules.get("superduper.config")
    if config is not None and "CFG" in vars(config):
        # The object stays the one that was imported.
        read, fresh = config.CFG, config.Settings()
        vars(read).update(vars(fresh))
        object.__setattr__(read, "__pydantic_fields_set__", set(fresh.model_fields_set))


@pytest.fixture
def sqlite_uri(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/test.db"


@pytest.fixture
def duckdb_uri(tmp_path: Path) -> str:
    return f"duckdb:///{tmp_path}/test.duckdb"


@pytest.fixture
def mongomock_uri() -> str:
    return f"mongomock://t_{uuid.uuid4().hex}"


@pytest.fixture(scope="session")
def postgres_server(fleet: Fleet) -> PostgresServer:
    return fleet.server(PostgresServer)


@pytest.fixture
def postgres_uri(postgres_server: PostgresServer) -> Iterator[str]:
    with postgres_server.database() as uri:
        yield uri


@pytest.fixture(scope="session")
def mariadb_server(fleet: Fleet) -> MariaDBServer:
    return fleet.server(MariaDBServer)


@pytest.fixture
def mariadb_uri(mariadb_server: MariaDBServer) -> Iterator[str]:
    with mariadb_server.database() as uri:
        yield uri


@pytest.fixture(scope="session")
def mongo_server(fleet: Fleet) -> MongoServer:
    """A wire double that keeps its data in memory: a restart empties it."""
    return fleet.server(MongoServer)


@pytest.fixture
def mongo_uri(mongo_server: MongoServer) -> Iterator[str]:
    with mongo_server.database() as uri:
        yield uri


@pytest.fixture(scope="session")
def s3_server(fleet: Fleet) -> S3Server:
    return fleet.server(S3Server)


@pytest.fixture
def s3_uri(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    monkeypatch.setenv("AWS_REGION", REGION)
    # Files and services that the clients would ask on their own account.
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-aws-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-aws-credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with s3_server.database() as uri:
        yield uri


@pytest.fixture(scope="session")
def dask_scheduler(fleet: Fleet) -> DaskScheduler:
    """With two workers, in processes of their own."""
    scheduler = fleet.server(DaskScheduler)
    fleet.server(DaskWorkers)
    return scheduler


@pytest.fixture
def dask_uri(dask_scheduler: DaskScheduler) -> str:
    return dask_scheduler.uri


@pytest.fixture(scope="session")
def seams_server(fleet: Fleet) -> SeamsServer:
    """Datalayers over HTTP, in a process of its own."""
    return fleet.server(SeamsServer)


@pytest.fixture
def http_sqlite_uri(seams_server: SeamsServer) -> Iterator[str]:
    with seams_server.database() as uri:
        yield uri


@pytest.fixture
def http_postgres_uri(seams_server: SeamsServer, postgres_uri: str) -> str:
    seams_server.start()
    return seams_server.over(postgres_uri)


@pytest.fixture
def http_postgres_metadata_uri(seams_server: SeamsServer, postgres_uri: str) -> str:
    seams_server.start()
    return seams_server.over(metadata=postgres_uri)


@pytest.fixture
def http_mongo_uri(seams_server: SeamsServer, mongo_uri: str) -> str:
    seams_server.start()
    return seams_server.over(mongo_uri)


@pytest.fixture
def http_s3_uri(seams_server: SeamsServer, s3_uri: str) -> str:
    seams_server.start()
    return seams_server.over(artifacts=s3_uri)


@pytest.fixture(scope="session")
def apiserver_server(fleet: Fleet) -> ApiServer:
    """A Kubernetes API server without controllers and nodes."""
    fleet.server(EtcdServer)
    return fleet.server(ApiServer)


@pytest.fixture
def apiserver(apiserver_server: ApiServer) -> Path:
    """Its kubeconfig, with all rights."""
    return apiserver_server.kubeconfig


@pytest.fixture
def ray_head(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> RayHead:
    for name, value in ray.ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    return fleet.server(RayHead)


@pytest.fixture
def ray_uri(ray_head: RayHead) -> str:
    return ray_head.uri
