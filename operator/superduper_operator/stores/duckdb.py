"""DuckDB on the server's volume."""

from __future__ import annotations

from superduper_operator.stores.base import DATA, Connection, Place, Provision, Role, Store


def build(place: Place, role: Role, provision: Provision) -> Store:
    """A file. The server is its one writer."""
    del provision
    suffix = "-metadata" if role == "metadata" else ""
    return Store(Connection(f"duckdb:///{DATA}/{place.datalayer}{suffix}.duckdb", embedded=True))
