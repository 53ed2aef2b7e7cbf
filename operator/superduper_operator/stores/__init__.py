"""Provisioned stores: one file for each engine, and one line in the table here."""

from __future__ import annotations

from collections.abc import Mapping

from superduper_operator.stores import duckdb, filesystem, postgres, s3, sqlite
from superduper_operator.stores.base import Build

ENGINES: Mapping[str, Build] = {
    "duckdb": duckdb.build,
    "filesystem": filesystem.build,
    "postgres": postgres.build,
    "s3": s3.build,
    "sqlite": sqlite.build,
}
"""What builds the store of each engine of ``provision``."""
