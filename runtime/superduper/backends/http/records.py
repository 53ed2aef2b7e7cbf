"""Records of the metadata store, and what an artifact store knows of an object, as plain lists and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from superduper.backends.base.artifacts import ObjectInfo
from superduper.backends.base.metadata import ComponentKey, ComponentRecord, JobRecord

Plain = Any


def plain(value: Any) -> Plain:
    """The value with records in it, as lists of their fields; what is in a record's own fields stays as it is."""
    if isinstance(value, (ComponentRecord, JobRecord)):
        return [getattr(value, field.name) for field in fields(value)]
    if isinstance(value, list):
        return [plain(one) for one in value]
    if isinstance(value, tuple):
        return [plain(one) for one in value]
    return value


def component(said: Plain) -> ComponentRecord:
    """A component's record."""
    type_id, identifier, version, digest, spec, artifacts, created = said
    assert isinstance(spec, Mapping)
    return ComponentRecord(type_id, identifier, version, digest, spec, tuple(artifacts), created)


def job(said: Plain) -> JobRecord:
    """A job's record."""
    return JobRecord(*said)


def key(said: Plain) -> ComponentKey:
    """The key of a component's version."""
    return ComponentKey(*said)


def info(said: Plain) -> ObjectInfo:
    """What is known of an object."""
    return ObjectInfo(*said)
