"""What a reconciler may read and do."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Literal, Protocol

from superduper_operator.core.manifest import Manifest

if TYPE_CHECKING:
    from superduper_operator.core.keys import Keys
    from superduper_operator.core.reconciler import Key
    from superduper_operator.runtime_client import RuntimeClient
    from superduper_operator.settings import Settings

EventType = Literal["Normal", "Warning"]


class Cached(Protocol):
    """Objects as the watches last saw them. What it returns is shared: never change it."""

    def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        """The object, or None. Our own writes are in it at once."""
        ...

    def list(self, kind: str, namespace: str | None = None, labels: dict[str, str] | None = None) -> Sequence[Manifest]:
        """The objects of a kind, in one namespace or in all, that carry all these labels; sorted by namespace and name."""
        ...

    def referring(self, kind: str, namespace: str, datalayer: str) -> Sequence[Manifest]:
        """The objects of a kind whose ``spec.datalayerRef.name`` is that Datalayer."""
        ...


class Queued(Protocol):
    """The work queue, as a reconciler sees it."""

    def add(self, key: Key, after: float = 0.0) -> None:
        """Have the key reconciled, in so many seconds at the latest. The same key twice is one run."""
        ...


class Context(Protocol):
    """Handed to every reconcile. All waiting is async; nothing here may be called from another thread."""

    settings: Settings
    keys: Keys
    """Derives tokens and passwords: ``keys.token(namespace, datalayer)``, ``keys.derive(namespace, name, purpose)``."""

    @property
    def cache(self) -> Cached:
        """What the watches last saw."""
        ...

    @property
    def queue(self) -> Queued:
        """Where keys are put to be reconciled."""
        ...

    @property
    def kuberay(self) -> bool:
        """Whether RayJobs (ray.io/v1) exist in this cluster now. A change queues every Model."""
        ...

    async def apply(self, manifest: Manifest) -> Manifest:
        """Have this object in the cluster, in the fields that the manifest names, and return it as it is there.

        Server-side apply, forced, as ``superduper-operator``: only where the live object differs, so an unchanged one
        causes no request. None-valued fields are left out. A field that an earlier apply set and this one does not
        name is taken away; fields of other managers stay.

        Raises ``Immutable`` (a field that Kubernetes lets nobody change), ``Invalid`` (the API server refuses the
        object), ``Taken`` (an object of that name exists and belongs to somebody else), ``Forbidden``, ``ApiError``.
        """
        ...

    async def create_secret(self, manifest: Manifest, *, again: bool = False) -> bool:
        """POST a Secret; True where it was made now, False where one of that name is there already.

        It is asked for again 30 s later at the earliest, so call it at every reconcile; or at once with ``again``, where
        it was seen to be missing.
        """
        ...

    async def delete(self, kind: str, namespace: str, name: str) -> None:
        """Delete an object, its own children after it in the background. One that is not there is no error."""
        ...

    async def disown(self, kind: str, namespace: str, name: str, owners: Collection[str]) -> bool:
        """Take away the object's owner references to those kinds, so that it is not collected with them.

        Asked of the API server, not of the cache. False where there was none, or no such object: only that is a proof.
        """
        ...

    async def get_config_map(self, namespace: str, name: str) -> Manifest | None:
        """A user's ConfigMap, asked of the API server each time; None where there is none."""
        ...

    async def write_status(self, obj: Manifest, status: Manifest) -> None:
        """Make ``status`` the object's whole status, in one write, and only if it differs (times aside).

        The ``lastTransitionTime`` of a condition whose status stays is kept. An object that is gone is no error.
        """
        ...

    async def add_finalizer(self, obj: Manifest) -> None:
        """Put ``superduper.io/finalizer`` on it; no request where it is there, or where the object is being deleted."""
        ...

    async def remove_finalizer(self, obj: Manifest) -> None:
        """Take ``superduper.io/finalizer`` away; no request where it is not there."""
        ...

    def event(self, obj: Manifest, type: EventType, reason: str, message: str) -> None:
        """Post an event about the object, in the background; the same one within 10 minutes is posted once."""
        ...

    def runtime(self, namespace: str, name: str) -> RuntimeClient:
        """The client of that Datalayer's server. Made by ``superduper_operator.runtime_client.connect``."""
        ...
