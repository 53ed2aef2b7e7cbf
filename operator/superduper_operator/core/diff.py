"""Whether a live object is as desired, in the fields that are ours: what server-side apply would find, without asking.

Pure. Two questions: does the live object hold every value that we desire (the server's defaults beside them do not
count), and do we own no field that we no longer desire (``metadata.managedFields`` says what we own).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from superduper_operator.core.manifest import Manifest
from superduper_operator.core.resources import MANAGER
from superduper_operator.quantity import number

KEYS: Final[dict[str, tuple[tuple[str, ...], ...]]] = {
    "containers": (("name",),),
    "initContainers": (("name",),),
    "env": (("name",),),
    "volumes": (("name",),),
    "volumeMounts": (("mountPath",),),
    "volumeDevices": (("devicePath",),),
    "imagePullSecrets": (("name",),),
    "ownerReferences": (("uid",),),
    "hostAliases": (("ip",),),
    "topologySpreadConstraints": (("topologyKey", "whenUnsatisfiable"),),
    # A container's ports, or else a Service's.
    "ports": (("containerPort", "protocol"), ("port", "protocol")),
}
"""Lists whose items Kubernetes tells apart by these keys; every other list is one value."""
DEFAULTS: Final = {"protocol": "TCP"}
"""What a key is where the manifest leaves it out."""
QUANTITIES: Final = frozenset({"limits", "requests", "sizeLimit", "capacity"})
IGNORED: Final = frozenset({"apiVersion", "kind", "status"})


def without_none(value: Any) -> Any:
    """The manifest without its None-valued fields, at every depth: they mean 'not named'."""
    if isinstance(value, dict):
        return {key: without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [without_none(item) for item in value]
    return value


def differences(desired: Manifest, live: Manifest) -> list[str]:
    """Paths where the live object is not as desired, as ``spec.replicas``; none where an apply would change nothing."""
    named = {key: value for key, value in desired.items() if key not in IGNORED}
    return [*_missing(named, live, ""), *_left_over(_owned(live), named, "")]


def applied_by_us(live: Manifest) -> bool:
    """Whether we have ever applied this object."""
    return _our_entry(live) is not None


def whole_lists(desired: Manifest, paths: list[str]) -> Manifest:
    """The part of the manifest with the outermost lists in which those paths lie, each as a whole; {} where none does."""
    found: Manifest = {}
    for path in paths:
        keys = path.partition("[")[0].split(".")
        value: Any = desired
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        if not isinstance(value, list):
            continue
        place = found
        for key in keys[:-1]:
            place = place.setdefault(key, {})
        place[keys[-1]] = value
    return found


def _missing(desired: Any, live: Any, path: str) -> Iterator[str]:
    """Desired values that the live object lacks."""
    if isinstance(desired, dict):
        if not isinstance(live, dict):
            # An empty map may be what the server makes of none.
            if desired or live is not None:
                yield path
            return
        for key, value in desired.items():
            inner = f"{path}.{key}" if path else key
            if key not in live and value in ({}, [], ""):
                continue
            yield from _missing(value, live.get(key), inner)
    elif isinstance(desired, list):
        yield from _missing_items(desired, live, path)
    elif not _same(desired, live, path):
        yield path


def _missing_items(desired: list[Any], live: Any, path: str) -> Iterator[str]:
    if not isinstance(live, list):
        if desired or live is not None:
            yield path
        return
    keys = _keys(path, desired)
    if keys is None:
        if len(desired) != len(live):
            yield path
            return
        for index, (item, found) in enumerate(zip(desired, live, strict=True)):
            yield from _missing(item, found, f"{path}[{index}]")
        return
    known = {_identity(item, keys): item for item in live if isinstance(item, dict)}
    for item in desired:
        identity = _identity(item, keys)
        yield from _missing(item, known.get(identity), f"{path}[{'/'.join(map(str, identity))}]")


def _left_over(owned: Manifest, desired: Any, path: str) -> Iterator[str]:
    """Fields that we own and no longer desire. ``owned`` is a set of fields as managedFields writes it."""
    for entry, inner in owned.items():
        kind, _, name = entry.partition(":")
        if kind == "f":
            where = f"{path}.{name}" if path else name
            if not isinstance(desired, dict) or name not in desired:
                yield where
            elif inner:
                yield from _left_over(inner, desired[name], where)
        elif kind == "k":
            wanted = json.loads(name)
            item = _find(desired, wanted)
            where = f"{path}[{'/'.join(map(str, wanted.values()))}]"
            if item is None:
                yield where
            else:
                yield from _left_over(inner, item, where)
        elif kind == "v" and (not isinstance(desired, list) or json.loads(name) not in desired):
            yield f"{path}[{name}]"


def _owned(live: Manifest) -> Manifest:
    entry = _our_entry(live)
    fields: Manifest = (entry or {}).get("fieldsV1") or {}
    return fields


def _our_entry(live: Manifest) -> Manifest | None:
    for entry in live["metadata"].get("managedFields") or ():
        if entry.get("manager") == MANAGER and entry.get("operation") == "Apply" and not entry.get("subresource"):
            found: Manifest = entry
            return found
    return None


def _find(items: Any, wanted: Manifest) -> Any:
    if not isinstance(items, list):
        return None
    return next(
        (
            item
            for item in items
            if isinstance(item, dict)
            and all(item.get(key, DEFAULTS.get(key)) == value for key, value in wanted.items())
        ),
        None,
    )


def _keys(path: str, items: list[Any]) -> tuple[str, ...] | None:
    name = path.rpartition(".")[2]
    for keys in KEYS.get(name, ()):
        if items and all(isinstance(item, dict) and keys[0] in item for item in items):
            return keys
    return None


def _identity(item: Manifest, keys: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple(item.get(key, DEFAULTS.get(key)) for key in keys)


def _same(desired: Any, live: Any, path: str) -> bool:
    if desired == live and isinstance(desired, bool) == isinstance(live, bool):
        return True
    if live is None:
        return bool(desired == "")
    parts = path.split(".")
    if QUANTITIES.intersection(parts[-2:]):
        one, other = number(desired), number(live)
        return one is not None and one == other
    return False
