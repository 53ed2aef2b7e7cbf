"""``/v1/objects``: DataTypes, Tables and Models by name."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body
from pydantic import BaseModel, ConfigDict, Field

from superduper.server.access import Db, Server, in_thread
from superduper.server.assess import Work

router = APIRouter(prefix="/v1/objects", tags=["objects"])
Manifest = Annotated[
    dict[str, Any],
    Body(examples=[{
        "apiVersion": "superduper.io/v1alpha1", "kind": "Table", "metadata": {"name": "docs"},
        "spec": {"datalayerRef": {"name": "main"}, "fields": {"x": {"type": "int"}}},
    }]),
]  # fmt: skip


class Answer(BaseModel):
    """How an object is."""

    status: dict[str, Any] = Field(description="The status as the API has it for the kind, conditions among it.")
    work: Work | None = Field(None, description="Of a Model: what is to be done.")
    revision: str = Field(description="Changes whenever this answer does.")


class Rerun(BaseModel):
    """What is to be computed again."""

    model_config = ConfigDict(extra="forbid")

    retry: bool = Field(False, description="Rows on which the model failed, too.")
    full: bool = Field(False, description="Look for rows that were written past superduper.")


class Removed(BaseModel):
    """What was removed."""

    removed: str


@router.get("", summary="All objects")
async def every(server: Server, db: Db) -> dict[str, Answer]:
    """By ``Kind/name``."""
    found = await in_thread(server.threads, server.objects.all, db, None)
    return {key: Answer(**told.body) for key, told in found.items()}


@router.get("/{kind}", summary="All objects of a kind")
async def of_kind(server: Server, db: Db, kind: str) -> dict[str, Answer]:
    """By ``Kind/name``."""
    found = await in_thread(server.threads, server.objects.all, db, kind)
    return {key: Answer(**told.body) for key, told in found.items()}


@router.get("/{kind}/{name}", summary="How an object is")
async def get(server: Server, db: Db, kind: str, name: str) -> Answer:
    """Its status, and what is to be done for it."""
    told = await in_thread(server.threads, server.objects.get, db, kind, name)
    return Answer(**told.body)


@router.put("/{kind}/{name}", summary="Have an object as its manifest says")
async def put(server: Server, db: Db, kind: str, name: str, manifest: Manifest) -> Answer:
    """The same object again does nothing; a changed one is applied. Long work follows in the background."""
    told = await in_thread(server.threads, server.objects.put, db, kind, name, manifest)
    return Answer(**told.body)


@router.delete("/{kind}/{name}", summary="Remove an object")
async def delete(
    server: Server, db: Db, kind: str, name: str, policy: Literal["Retain", "Delete"] | None = None
) -> Removed:
    """``policy`` says what becomes of rows and outputs; left out, the object's own ``deletionPolicy`` does."""
    await in_thread(server.threads, server.objects.delete, db, kind, name, policy)
    return Removed(removed=f"{kind}/{name}")


@router.post("/Model/{name}/run", status_code=202, summary="Compute a model's missing outputs")
async def run(server: Server, db: Db, name: str, rerun: Rerun | None = None) -> Answer:
    """Begins it, whatever the model's trigger, and answers how it is."""
    asked = rerun or Rerun(retry=False, full=False)
    told = await in_thread(server.threads, server.objects.rerun, db, name, retry=asked.retry, full=asked.full)
    return Answer(**told.body)
