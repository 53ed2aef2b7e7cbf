"""What a component refers to, and who else has its identifier. Pure: objects in, words out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

from superduper.api import references
from superduper.api.v1alpha1 import Object
from superduper.errors import nearest
from superduper_operator.kinds import manifests
from superduper_operator.podspec import Manifest

Siblings: TypeAlias = Callable[[str], Sequence[Manifest]]
"""The objects of one Datalayer, by kind."""


def identifier(live: Manifest) -> str:
    """Name inside the datalayer."""
    return str(live["spec"].get("identifier") or live["metadata"]["name"])


def missing(resource: Object, siblings: Siblings) -> str | None:
    """The first reference that leads nowhere, or to what is not applied yet; None where all are there."""
    for reference in references.references(resource):
        if reference.kind == "Datalayer":
            continue
        found = {identifier(each): each for each in siblings(reference.kind) if not manifests.deleting(each)}
        where = ".".join(str(part) for part in reference.path)
        if reference.name not in found:
            hint = nearest(reference.name, found)
            return f"{where}: there is no {reference.kind} {reference.name!r} in this Datalayer{hint}; it goes on when there is"
        if not applied(found[reference.name]):
            said = manifests.condition(found[reference.name].get("status") or {})
            why = f" ({said['reason']}: {said['message']})" if said.get("message") else ""
            return f"{where}: {reference.kind} {reference.name!r} is not applied yet{why[:500]}"
    return None


def applied(live: Manifest) -> bool:
    """Whether others can go on with it: the datalayer has it, and a table with a source has been filled once.

    Until then a model on it would be Ready with the few rows that are there; while it is filled again, it stays.
    """
    status = live.get("status") or {}
    if manifests.ready(live):
        return True
    if live.get("kind") == "Table" and live["spec"].get("source") is not None:
        return status.get("syncedAt") is not None
    return status.get("version") is not None


def first_of(live: Manifest, others: Iterable[Manifest]) -> Manifest | None:
    """An older object of the same kind with the same identifier; None where this one has it first."""
    mine, age = identifier(live), _age(live)
    older = [
        each for each in others
        if each["metadata"]["name"] != live["metadata"]["name"] and identifier(each) == mine and _age(each) < age
    ]  # fmt: skip
    return min(older, key=_age) if older else None


def _age(live: Manifest) -> tuple[str, str]:
    meta: Mapping[str, str] = live["metadata"]
    return meta.get("creationTimestamp", ""), meta["name"]
