"""Labels, annotations and owner references of everything that the operator makes."""

from __future__ import annotations

from typing import Any

from superduper.api.v1alpha1 import API_VERSION

MANAGED_BY = "app.kubernetes.io/managed-by"
NAME = "app.kubernetes.io/name"
INSTANCE = "app.kubernetes.io/instance"
COMPONENT = "app.kubernetes.io/component"
PART_OF = "app.kubernetes.io/part-of"
DATALAYER = "superduper.io/datalayer"
MODEL = "superduper.io/model"
JOB = "superduper.io/job"
WORK = "superduper.io/work"
RUN = "superduper.io/run"

PAUSED = "superduper.io/paused"
RESTART = "superduper.io/restart"
CONFIGURATION = "superduper.io/configuration"
CREDENTIALS_TRIED = "superduper.io/credentials-tried"
FINALIZER = "superduper.io/finalizer"


def of(datalayer: str, part: str, **further: str) -> dict[str, str]:
    """Labels of an object for that part of a Datalayer; ``component``, ``model`` and so on add theirs."""
    known = {"component": COMPONENT, "model": MODEL, "job": JOB, "work": WORK, "run": RUN}
    return {
        MANAGED_BY: "superduper-operator",
        NAME: part,
        INSTANCE: datalayer,
        PART_OF: "superduper",
        DATALAYER: datalayer,
        **{known[key]: value for key, value in further.items()},
    }


def owner(kind: str, name: str, uid: str) -> dict[str, Any]:
    """An owner reference to one of our objects."""
    return {"apiVersion": API_VERSION, "kind": kind, "name": name, "uid": uid, "controller": True}
