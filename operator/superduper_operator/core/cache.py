"""Objects as the watches last saw them, with lookups by label and by Datalayer."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from superduper_operator.core.manifest import Manifest
from superduper_operator.core.resources import MANAGER, RESOURCES

Place = tuple[str, str]
"""Namespace and name."""
Changed = Callable[[str, Manifest | None, Manifest | None], None]
"""Told a kind, the object before and the object now; None where there was none, or is none any more."""

INDEXED: Final = "superduper.io/"
"""Labels that begin so are looked up without reading every object."""
REFERENCE: Final = "spec.datalayerRef.name"
DEAD: Final = 4096
"""How many deleted objects are remembered, so that a late answer to a request of ours does not bring one back."""


class Cache:
    """One per process; only its loop's thread touches it. ``changed`` is told of every change, in order."""

    def __init__(self, changed: Changed | None = None) -> None:
        self.changed: Changed = changed or (lambda _kind, _old, _new: None)
        self._objects: dict[str, dict[Place, Manifest]] = defaultdict(dict)
        self._index: dict[tuple[str, str, str, str], set[str]] = defaultdict(set)
        self._dead: OrderedDict[str, None] = OrderedDict()
        self._synced: set[tuple[str, str | None]] = set()
        self._absent: set[str] = set()

    # What reconcilers read

    def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        """The object, or None."""
        return self._objects[kind].get((namespace, name))

    def list(self, kind: str, namespace: str | None = None, labels: dict[str, str] | None = None) -> Sequence[Manifest]:
        """The objects of a kind, in one namespace or in all, that carry all these labels; sorted by namespace and name."""
        objects = self._objects[kind]
        wanted = labels or {}
        places: Iterable[Place] = objects
        if namespace is not None:
            indexed = next((label for label in sorted(wanted, reverse=True) if label.startswith(INDEXED)), None)
            if indexed is not None:
                names = self._index.get((kind, namespace, indexed, wanted[indexed]), ())
                places = [(namespace, name) for name in names]
            else:
                places = [place for place in objects if place[0] == namespace]
        return [
            objects[place]
            for place in sorted(places)
            if not wanted or wanted.items() <= _labels(objects[place]).items()
        ]

    def referring(self, kind: str, namespace: str, datalayer: str) -> Sequence[Manifest]:
        """The objects of a kind whose ``spec.datalayerRef.name`` is that Datalayer."""
        names = self._index.get((kind, namespace, REFERENCE, datalayer), ())
        return [self._objects[kind][namespace, name] for name in sorted(names)]

    def all(self, kind: str) -> Iterable[Manifest]:
        """Every object of a kind, in no order."""
        return list(self._objects[kind].values())

    # What watches and our own writes bring

    def put(self, kind: str, obj: Manifest, *, own: bool = False) -> None:
        """The object as somebody has just seen it; older news than what is known is dropped.

        ``own``: it is the answer to a write of ours, which is news to nobody, unless it shows what somebody else
        did before us: that will not come by the watch any more.
        """
        meta = obj["metadata"]
        if meta.get("uid") in self._dead:
            return
        place = (meta.get("namespace", ""), meta["name"])
        old = self._objects[kind].get(place)
        if old is not None and old["metadata"].get("uid") == meta.get("uid") and version(obj) <= version(old):
            return
        obj = _slim(kind, obj)
        self._unindex(kind, place, old)
        self._objects[kind][place] = obj
        for label, value in _indexed(obj):
            self._index[kind, place[0], label, value].add(place[1])
        if not own or (old is not None and (RESOURCES[kind].ours or old.get("status") != obj.get("status"))):
            self.changed(kind, old, obj)

    def remove(self, kind: str, obj: Manifest) -> None:
        """The object is gone. One of the same name that came after it stays."""
        meta = obj["metadata"]
        uid = meta.get("uid")
        if uid:
            self._dead[uid] = None
            while len(self._dead) > DEAD:
                self._dead.popitem(last=False)
        place = (meta.get("namespace", ""), meta["name"])
        old = self._objects[kind].get(place)
        if old is None or (uid and old["metadata"].get("uid") != uid):
            return
        self._unindex(kind, place, old)
        del self._objects[kind][place]
        self.changed(kind, old, None)

    def replace(self, kind: str, namespace: str | None, objects: Sequence[Manifest]) -> None:
        """All objects of a kind, in a namespace or everywhere: what is not among them was deleted unseen."""
        uids = {obj["metadata"].get("uid") for obj in objects}
        for old in [old for place, old in self._objects[kind].items() if namespace in (None, place[0])]:
            if old["metadata"].get("uid") not in uids:
                self.remove(kind, old)
        for obj in objects:
            self.put(kind, obj)
        self._absent.discard(kind)
        self._synced.add((kind, namespace))

    def lose(self, kind: str, namespace: str | None) -> None:
        """The kind is not installed, or no longer: its objects are gone, and nobody waits for it."""
        for old in [old for place, old in self._objects[kind].items() if namespace in (None, place[0])]:
            self.remove(kind, old)
        self._synced.discard((kind, namespace))
        self._absent.add(kind)

    def synced(self, kind: str, namespace: str | None) -> bool:
        """Whether all objects of that kind and place have been seen."""
        return (kind, namespace) in self._synced

    def absent(self, kind: str) -> bool:
        """Whether the API server has said that there is no such kind."""
        return kind in self._absent

    def _unindex(self, kind: str, place: Place, old: Manifest | None) -> None:
        for label, value in _indexed(old) if old is not None else ():
            names = self._index[kind, place[0], label, value]
            names.discard(place[1])
            if not names:
                del self._index[kind, place[0], label, value]


def version(obj: Manifest) -> int:
    """The resourceVersion: versions of one kind can be compared (Kubernetes 1.35 says so, every release did so)."""
    text = obj["metadata"].get("resourceVersion", "0")
    return int(text) if text.isdigit() else 0


def _labels(obj: Manifest) -> dict[str, str]:
    return obj["metadata"].get("labels") or {}


def _indexed(obj: Manifest) -> list[tuple[str, str]]:
    found = [(label, value) for label, value in _labels(obj).items() if label.startswith(INDEXED)]
    reference = ((obj.get("spec") or {}).get("datalayerRef") or {}).get("name")
    return [*found, (REFERENCE, reference)] if reference else found


def _slim(kind: str, obj: Manifest) -> Manifest:
    """Without the managers of fields, but for our own: they are half of a Pod."""
    meta = dict(obj["metadata"])
    managers = meta.pop("managedFields", None) or ()
    ours = [entry for entry in managers if entry.get("manager") == MANAGER and entry.get("operation") == "Apply"]
    if ours:
        meta["managedFields"] = ours
    # Items of a list carry neither kind nor version.
    return {"apiVersion": RESOURCES[kind].api_version, "kind": kind, **obj, "metadata": meta}
