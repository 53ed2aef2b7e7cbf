"""Names in paths: an object's ``metadata.name``, or the identifier inside the datalayer."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from superduper.datalayer import Datalayer
    from superduper.server.state import State


def named(server: State, db: Datalayer, kind: str, name: str) -> str:
    """The identifier that is meant; the name itself where no object has it."""
    record = server.objects.records(db).find(kind, name)
    return name if record is None else record.identifier
