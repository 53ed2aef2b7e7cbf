"""What a kind gives the engine: one level-triggered function."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from superduper_operator.core.context import Context


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """One object to reconcile: its kind (as ``Datalayer``), namespace and name."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Result:
    """How a reconcile ended well. ``requeue_after``: seconds until it runs again though nothing changed; None: at the resync."""

    requeue_after: float | None = None


class Reconciler(Protocol):
    """Brings the world to what one kind of object asks for.

    The engine calls it when the object, or a child that carries its label (``superduper.io/model`` for a Model, else
    ``superduper.io/datalayer`` for a Datalayer), was added, changed or deleted; when somebody queued the key; and at
    each resync. It runs once at a time for one key, under the deadline ``settings.reconcile_deadline``.

    What it raises becomes a log line, an event and the conditions ``Ready=False`` with ``Stalled=True``, and the key
    is tried again with backoff: an ``ApiError`` in words that say what to do, everything else with its own message.
    """

    kind: str

    async def reconcile(self, key: Key, ctx: Context) -> Result:
        """Called also when the object is gone: then it cleans up what it holds in memory and returns ``Result()``."""
        ...
