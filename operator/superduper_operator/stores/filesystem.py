"""Artifacts in a folder on the server's volume."""

from __future__ import annotations

from superduper_operator.stores.base import DATA, Connection, Place, Provision, Role, Store


def build(place: Place, role: Role, provision: Provision) -> Store:
    """A folder. The server is its one writer."""
    del place, role, provision
    return Store(Connection(f"filesystem://{DATA}/artifacts", embedded=True))
