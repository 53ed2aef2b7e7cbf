"""The seam to the metadata store: components and their versions, jobs, statuses, locks."""

from __future__ import annotations

import random
import time
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple

from superduper.errors import InUse, ManifestError, NotFound, VersionError, nearest

Json = Any
SCHEMA_VERSION = 1
"""Version of the layout of the metadata; a store with a greater one is refused."""


class ComponentKey(NamedTuple):
    """One version of one component."""

    type_id: str
    identifier: str
    version: int


@dataclass(frozen=True, slots=True)
class ComponentRecord:
    """What is kept of one version. ``digest`` is the hash of its content, ``artifacts`` the ids it needs."""

    type_id: str
    identifier: str
    version: int
    digest: str
    spec: Mapping[str, Json]
    artifacts: tuple[str, ...]
    created: datetime

    @property
    def key(self) -> ComponentKey:
        return ComponentKey(self.type_id, self.identifier, self.version)


JobKind = Literal["train", "predict", "validate"]
JobPhase = Literal["Running", "Succeeded", "Failed"]


@dataclass(frozen=True, slots=True)
class JobRecord:
    """One run of a model: training, predicting or validating."""

    id: str
    kind: JobKind
    model: str
    version: int
    phase: JobPhase
    started: datetime
    finished: datetime | None = None
    rows: int = 0
    failed: int = 0
    message: str = ""


class MetaDataStore(ABC):
    """A connection to one metadata store. Safe under threads and processes; reopens itself after a fork."""

    uri: str

    @abstractmethod
    def add_component(
        self,
        type_id: str,
        identifier: str,
        *,
        digest: str,
        spec: Mapping[str, Json],
        artifacts: Sequence[str] = (),
        children: Sequence[ComponentKey] = (),
    ) -> tuple[ComponentRecord, bool]:
        """Record it as the newest version, numbered from 0, unless the newest has the same digest.

        Returns the record and whether it is new. Two processes at once never get one number for two digests.
        Raises NotFound where a child is not there, ManifestError where the identifier cannot be kept.
        """

    @abstractmethod
    def component(self, type_id: str, identifier: str, version: int | None = None) -> ComponentRecord:
        """One version, the newest by default. Raises NotFound, naming the nearest known identifier."""

    @abstractmethod
    def components(self, type_id: str | None = None) -> list[tuple[str, str]]:
        """All ``(type_id, identifier)``, sorted."""

    @abstractmethod
    def versions(self, type_id: str, identifier: str) -> list[int]:
        """Version numbers, ascending; empty where there is no such component."""

    @abstractmethod
    def state(self) -> Hashable:
        """A token that changes whenever any process adds or removes a component; cheap to ask for."""

    @abstractmethod
    def remove_component(self, type_id: str, identifier: str, version: int | None = None) -> None:
        """Forget one version, or all. Raises NotFound; raises InUse, naming the parents, while others need it."""

    @abstractmethod
    def children(self, key: ComponentKey) -> list[ComponentKey]:
        """The components that this one needs."""

    @abstractmethod
    def parents(self, type_id: str, identifier: str, version: int | None = None) -> list[ComponentKey]:
        """The components that need this one."""

    @abstractmethod
    def artifacts(self) -> Iterator[str]:
        """Ids of all artifacts that any component version needs; may repeat."""

    @abstractmethod
    def status(self, type_id: str, identifier: str) -> dict[str, Json]:
        """What was last said by ``set_status``; empty where nothing was."""

    @abstractmethod
    def set_status(self, type_id: str, identifier: str, status: Mapping[str, Json]) -> None:
        """Keep a JSON document about a component; it is removed with the component's last version."""

    @abstractmethod
    def put_job(self, job: JobRecord) -> None:
        """Add the job, or replace the one of that id."""

    @abstractmethod
    def jobs(self, model: str | None = None, *, limit: int = 100) -> list[JobRecord]:
        """The newest jobs first."""

    @abstractmethod
    def acquire(self, name: str, owner: str, seconds: float) -> bool:
        """Take the named lock for that time, or prolong it; False while another owner holds it."""

    @abstractmethod
    def holder(self, name: str) -> str | None:
        """Who has the named lock at the moment, if anybody."""

    @abstractmethod
    def release(self, name: str, owner: str) -> None:
        """Give the lock back; nothing happens if it is not this owner's."""

    @abstractmethod
    def prepare(self) -> None:
        """Make the tables that are not there yet; done when connecting, and to go on after ``drop``.

        Raises VersionError where a newer superduper wrote them.
        """

    @abstractmethod
    def drop(self) -> None:
        """Remove everything that this store keeps, tables included."""

    @abstractmethod
    def close(self) -> None:
        """Give back connections."""


IDENTIFIER_LENGTH = 255
"""Characters of an identifier at most: what every database can keep in a key."""


def check_names(type_id: str, identifier: str) -> None:
    """Refuse a name that some store could not keep. Raises ManifestError."""
    if not identifier or len(identifier) > IDENTIFIER_LENGTH or "\0" in identifier:
        raise ManifestError(
            f"identifier of a {type_id}: {identifier[:40]!r} has {len(identifier)} characters; "
            f"it must have 1 to {IDENTIFIER_LENGTH}, none of them NUL: choose another name"
        )


def check_schema_version(uri: str, found: int) -> None:
    """Refuse a store that is written in a later layout. Raises VersionError."""
    if found > SCHEMA_VERSION:
        raise VersionError(
            f"the metadata in {uri} was written by a newer superduper (layout {found}, this one knows "
            f"{SCHEMA_VERSION}); upgrade with: pip install -U superduper"
        )


def no_such_component(type_id: str, identifier: str, known: Sequence[tuple[str, str]]) -> NotFound:
    """The error for a component that is not there, naming the nearest that is."""
    hint = nearest(identifier, [name for kind, name in known if kind == type_id])
    if not hint and (elsewhere := [kind for kind, name in known if name == identifier]):
        hint = f"; there is a {elsewhere[0]} of that name"
    return NotFound(f"there is no {type_id} {identifier!r}{hint or '; db.show() lists what there is'}")


def no_such_version(type_id: str, identifier: str, version: int, versions: Sequence[int]) -> NotFound:
    """The error for a version that is not there, naming those that are."""
    listed = ", ".join(map(str, versions[-10:]))
    return NotFound(f"{type_id} {identifier!r} has no version {version}; choose one of: {listed}")


def still_needed(type_id: str, identifier: str, parents: Sequence[ComponentKey]) -> InUse:
    """The error for removing what others need, naming at most ten of them."""
    named = ", ".join(f"{key.type_id} {key.identifier!r} (version {key.version})" for key in parents[:10])
    more = f" and {len(parents) - 10} more" if len(parents) > 10 else ""
    return InUse(f"{type_id} {identifier!r} cannot be removed: it is needed by {named}{more}; remove that first")


def storable(text: str) -> str:
    """The text without what databases refuse: lone surrogates, and NUL, which PostgreSQL cannot keep."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")


def pause(attempt: int) -> None:
    """Wait a random moment, at most 50 ms, before trying again what another process was doing at the same time."""
    time.sleep(random.uniform(0, min(0.05, 0.001 * 2 ** min(attempt, 6))))
