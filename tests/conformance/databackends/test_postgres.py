"""What PostgreSQL alone can do to us."""

from __future__ import annotations

import uuid

import psycopg

from superduper import superduper
from tests.servers.postgres import PostgresServer


def test_a_database_in_sql_ascii_keeps_every_letter(postgres_server: PostgresServer) -> None:
    """initdb makes such databases where no locale is set, as in many containers."""
    name = f"ascii_{uuid.uuid4().hex[:8]}"
    create = f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    with psycopg.connect(f"{postgres_server.uri}/postgres", autocommit=True) as admin:
        admin.execute(create.encode())
        try:
            with superduper(f"{postgres_server.uri}/{name}", artifact_store="memory://") as db:
                db.insert("words", [{"id": "ä", "word": "naïve 日本 🦆"}])
                assert db["words"].find_one({"id": "ä"}).execute()["word"] == "naïve 日本 🦆"
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
