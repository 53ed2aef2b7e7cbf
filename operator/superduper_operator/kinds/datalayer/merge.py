"""A pod template laid over ours: what ``spec.server.podTemplate`` says wins, field by field.

- Maps are merged key by key; ``null`` takes a key of ours away.
- Lists of named things are merged by their key: containers, initContainers, volumes, env, imagePullSecrets and
  ephemeralContainers by ``name``, volumeMounts by ``mountPath``, ports by ``containerPort``, tolerations by ``key``,
  topologySpreadConstraints by ``topologyKey``. What is new comes after ours.
- Every other list, and every plain value, takes the place of ours.

Our server is the container ``server``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

KEYS = {
    "containers": "name",
    "ephemeralContainers": "name",
    "env": "name",
    "imagePullSecrets": "name",
    "initContainers": "name",
    "ports": "containerPort",
    "tolerations": "key",
    "topologySpreadConstraints": "topologyKey",
    "volumeMounts": "mountPath",
    "volumes": "name",
}
"""The key of each list that is merged."""


def merged(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    """``theirs`` laid over ``ours``; neither is changed."""
    found = dict(ours)
    for key, value in theirs.items():
        if value is None:
            found.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(found.get(key), Mapping):
            found[key] = merged(found[key], value)
        elif key in KEYS and _named(value, KEYS[key]) and _named(found.get(key), KEYS[key]):
            found[key] = _by_key(found[key], value, KEYS[key])
        else:
            found[key] = value
    return found


def _named(value: Any, key: str) -> bool:
    return isinstance(value, list) and all(isinstance(each, Mapping) and key in each for each in value)


def _by_key(ours: Sequence[Mapping[str, Any]], theirs: Sequence[Mapping[str, Any]], key: str) -> list[dict[str, Any]]:
    found = {each[key]: dict(each) for each in ours}
    for each in theirs:
        old = found.get(each[key], {})
        # A volume or a variable has one source: another one takes the place of ours.
        found[each[key]] = dict(each) if key == "name" and _other_source(old, each) else merged(old, each)
    return list(found.values())


def _other_source(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> bool:
    sources = {"value", "valueFrom"} if {"value", "valueFrom"} & {*ours, *theirs} else {*ours, *theirs} - {"name"}
    is_container = "image" in ours or "image" in theirs
    return not is_container and bool(sources & {*ours}) and not {*ours} & {*theirs} & sources
