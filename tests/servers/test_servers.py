"""The servers that the other tests stand on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pymongo
import pymysql
import pytest

from tests.servers.apiserver import ApiServer
from tests.servers.base import REPOSITORY, Server, running
from tests.servers.fleet import KINDS
from tests.servers.mongo import MongoServer
from tests.servers.postgres import PostgresServer
from tests.servers.s3 import ACCESS_KEY

if TYPE_CHECKING:
    from tests.servers.mariadb import MariaDBServer


def test_postgres_keeps_its_rows_over_a_restart(postgres_uri: str, postgres_server: PostgresServer) -> None:
    with psycopg.connect(postgres_uri) as connection:
        connection.execute("create table t as select 7 as x")
    postgres_server.restart()
    with psycopg.connect(postgres_uri) as connection:
        assert connection.execute("select x from t").fetchall() == [(7,)]


def test_postgres_refuses_a_wrong_password(postgres_uri: str) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(postgres_uri.replace("s3cret", "guess"))


def test_a_postgres_that_was_stopped_by_a_test_runs_again_for_the_next(
    postgres_uri: str, postgres_server: PostgresServer
) -> None:
    postgres_server.stop()
    with pytest.raises(psycopg.OperationalError, match="refused"):
        psycopg.connect(postgres_uri)
    postgres_server.settle()
    psycopg.connect(postgres_uri).close()


def test_mariadb_keeps_its_rows_over_a_restart_and_refuses_a_wrong_password(
    mariadb_uri: str, mariadb_server: MariaDBServer
) -> None:
    def connect(password: str) -> pymysql.Connection[pymysql.cursors.Cursor]:
        database = mariadb_uri.rpartition("/")[2]
        return pymysql.connect(
            host="127.0.0.1", port=mariadb_server.port, user="superduper", password=password, database=database
        )

    with connect("s3cret") as connection, connection.cursor() as cursor:
        cursor.execute("create table t (x int)")
        cursor.execute("insert into t values (7)")
        connection.commit()
    mariadb_server.restart()
    with connect("s3cret") as connection, connection.cursor() as cursor:
        cursor.execute("select x from t")
        assert cursor.fetchall() == ((7,),)
    with pytest.raises(pymysql.err.OperationalError, match="Access denied"):
        connect("guess")


def test_mongo_answers_on_the_same_port_after_a_restart(mongo_uri: str, mongo_server: MongoServer) -> None:
    client: pymongo.MongoClient[dict[str, int]] = pymongo.MongoClient(mongo_uri)
    with client:
        rows = client.get_default_database()["t"]
        rows.insert_one({"x": 7})
        assert [row["x"] for row in rows.find({"x": {"$gt": 3}})] == [7]
    mongo_server.restart()
    again: pymongo.MongoClient[dict[str, int]] = pymongo.MongoClient(mongo_uri)
    with again:
        assert again.admin.command("ping")["ok"] == 1.0


def test_s3_stores_once_where_asked_to_and_refuses_a_wrong_secret(s3_uri: str) -> None:
    import boto3
    from botocore.exceptions import ClientError

    address, _, rest = s3_uri.removeprefix("s3://").partition("?endpoint=")
    bucket, endpoint = address.partition("/")[0], rest.partition("&")[0]
    client = boto3.client("s3", endpoint_url=endpoint)
    client.put_object(Bucket=bucket, Key="a", Body=b"first", IfNoneMatch="*")
    with pytest.raises(ClientError, match="PreconditionFailed"):
        client.put_object(Bucket=bucket, Key="a", Body=b"second", IfNoneMatch="*")
    assert client.get_object(Bucket=bucket, Key="a", Range="bytes=1-2")["Body"].read() == b"ir"
    forger = boto3.client("s3", endpoint_url=endpoint, aws_access_key_id=ACCESS_KEY, aws_secret_access_key="guess")
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        forger.get_object(Bucket=bucket, Key="a")


@pytest.fixture
def root() -> Iterator[Path]:
    """A folder that servers under other accounts may enter: pytest's own are closed to them."""
    with tempfile.TemporaryDirectory(prefix="superduper-servers-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_the_api_server_keeps_objects_and_rights_over_a_restart(apiserver_server: ApiServer) -> None:
    with apiserver_server.fresh() as namespace:
        apiserver_server.kubectl("create", "serviceaccount", "someone", "-n", namespace)
        token = apiserver_server.kubectl("create", "token", "someone", "-n", namespace).strip()
        # Not by the file's own user, whose token would go before this one.
        as_someone = ("get", "pods", "-n", namespace, "--kubeconfig=/dev/null", f"--server={apiserver_server.uri}")
        as_someone += (f"--token={token}", f"--certificate-authority={apiserver_server.authority}")
        assert "is forbidden" in apiserver_server.tried(*as_someone).stderr
        account = f"--serviceaccount={namespace}:someone"
        apiserver_server.kubectl("create", "role", "see", "--verb=list", "--resource=pods", "-n", namespace)
        apiserver_server.kubectl("create", "rolebinding", "see", "--role=see", account, "-n", namespace)
        apiserver_server.restart()
        assert "No resources found" in apiserver_server.tried(*as_someone).stderr


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_server_and_its_folder_are_gone_when_its_session_is_killed(kind: type[Server], root: Path) -> None:
    script = (
        f"from pathlib import Path; from {kind.__module__} import start\n"
        f"with start(Path({str(root)!r})) as server: print('ready', flush=True); input()"
    )
    session = subprocess.Popen(
        [sys.executable, "-c", script], cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with session:
        assert session.stdout is not None
        assert session.stdout.readline() == b"ready\n"
        server = int((root / kind.name / "server.pid").read_text())
        elsewhere = [path.resolve() for path in (root / kind.name).iterdir() if path.is_symlink()]
        os.kill(server, 0)
        session.send_signal(signal.SIGKILL)
    end = time.monotonic() + 30
    while (root / kind.name).exists():
        assert time.monotonic() < end, f"{kind.name} was left behind"
        time.sleep(0.05)
    assert [path for path in elsewhere if path.exists()] == []
    with pytest.raises(ProcessLookupError):
        os.kill(server, 0)


def test_a_server_that_cannot_start_fails_with_its_own_words(tmp_path: Path) -> None:
    class Broken(MongoServer):
        name = "broken"

        def command(self) -> list[str]:
            return [sys.executable, "-c", "raise SystemExit('out of luck')"]

    with pytest.raises(Exception, match="out of luck"), running(Broken, tmp_path):
        pass
