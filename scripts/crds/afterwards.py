"""What of an object cannot be changed once it is there. Only a cluster knows what was there: these have no Python twin."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Transition:
    """A CEL rule over the old and the new object. ``path``: where it stands, below the kind; ``at``: the field named
    in the message."""

    name: str
    path: tuple[str, ...]
    cel: str
    text: str
    at: str = ""

    @property
    def shown(self) -> str:
        """Path of the field and the text, for the docs."""
        place = ".".join(self.path) + self.at
        return f"`{place.removeprefix('.')}`: {self.text}"


def _same_kind_of_store(name: str, path: str) -> tuple[Transition, ...]:
    return (
        Transition(
            f"{name}_stays_provisioned",
            ("spec", path),
            "has(self.provision) == has(oldSelf.provision)",
            "a provisioned store and one of your own cannot take each other's place: the data would stay behind; "
            "keep it, or move the data and create a Datalayer of another name",
        ),
        Transition(
            f"{name}_engine_stays",
            ("spec", path, "provision"),
            "self.engine == oldSelf.engine",
            "engine cannot be changed: the data would stay in the old store; keep it, or move the data and create a "
            "Datalayer of another name",
            at=".engine",
        ),
        Transition(
            f"{name}_storage_grows",
            ("spec", path, "provision"),
            "!has(oldSelf.storage) || (has(self.storage) && "
            "quantity(string(self.storage)).compareTo(quantity(string(oldSelf.storage))) >= 0)",
            "storage cannot shrink: volumes only grow; keep the size or raise it",
            at=".storage",
        ),
    )


def _stays_given(name: str, field: str) -> Transition:
    return Transition(
        name,
        ("spec",),
        f"has(self.{field}) == has(oldSelf.{field})",
        f"{field} cannot be added or left out afterwards: what is stored would stay behind; keep it as it was, or create "
        "a Datalayer of another name",
        at=f".{field}",
    )


DATALAYER = (
    *_same_kind_of_store("databackend", "databackend"),
    *_same_kind_of_store("metadata", "metadata"),
    *_same_kind_of_store("artifact_store", "artifactStore"),
    _stays_given("metadata_stays_given", "metadata"),
    _stays_given("artifact_store_stays_given", "artifactStore"),
)

COMPONENT = (
    Transition(
        "datalayer_stays",
        ("spec",),
        "!has(oldSelf.datalayerRef) || (has(self.datalayerRef) && self.datalayerRef.name == oldSelf.datalayerRef.name)",
        "datalayerRef cannot be changed: what was made would stay in the old Datalayer; keep it, or delete this object first",
        at=".datalayerRef",
    ),
    Transition(
        "identifier_stays",
        (),
        "(has(self.spec.identifier) ? self.spec.identifier : self.metadata.name) == "
        "(has(oldSelf.spec.identifier) ? oldSelf.spec.identifier : oldSelf.metadata.name)",
        "identifier cannot be changed: what was made under the old name would live on; keep it, or delete this object first",
        at=".spec.identifier",
    ),
)

TABLE = (
    *COMPONENT,
    Transition(
        "primary_key_stays",
        ("spec",),
        "self.primaryKey == oldSelf.primaryKey",
        "primaryKey cannot be changed: rows, files and outputs are told apart by it; keep it, or create a Table of another "
        "identifier",
        at=".primaryKey",
    ),
)

TRANSITIONS = {"Datalayer": DATALAYER, "DataType": COMPONENT, "Table": TABLE, "Model": COMPONENT}
"""By kind."""
