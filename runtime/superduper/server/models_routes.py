"""``/v1/models``: predict once, measure, and what failed."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from superduper.components.datatype import DataType
from superduper.datalayer import Datalayer
from superduper.errors import EncodeError, NotFound, SchemaMismatch
from superduper.server.access import Db, Server, TooLarge, in_thread
from superduper.server.named import named
from superduper.server.values import Reader, dumps, restored

if TYPE_CHECKING:
    from superduper.components.model import Model
    from superduper.server.state import State

router = APIRouter(prefix="/v1/models", tags=["models"])


class Call(BaseModel):
    """One row's inputs."""

    model_config = ConfigDict(extra="forbid")

    args: list[Any] = Field(
        default_factory=list, description='Of a DataType: {"$base64": …}, or {"$id": …} of a stored artifact.'
    )
    kwargs: dict[str, Any] = Field(default_factory=dict)


class Metrics(BaseModel):
    """What was measured."""

    metrics: dict[str, float]


@router.post("/{model}/predict", summary="Run a model once, and keep nothing")
async def predict(server: Server, db: Db, model: str, call: Call) -> Response:
    """``{"output": …}``."""
    answer = await in_thread(server.threads, _predict, server, db, model, call)
    return Response(answer, media_type="application/json")


@router.post("/{model}/validate", summary="Measure a model by its validation")
async def validate(server: Server, db: Db, model: str) -> Metrics:
    """The value of each metric; they stand in the object's status too."""
    identifier = await in_thread(server.threads, named, server, db, "Model", model)
    found = await in_thread(server.threads, db.validate, identifier)
    server.background.kick()
    return Metrics(metrics=found)


@router.get("/{model}/errors", summary="Rows on which a model failed")
async def errors(
    server: Server,
    db: Db,
    model: str,
    skip: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
) -> Response:
    """``{"errors": [{"row", "error"}, …], "more": bool}``, by key."""
    answer = await in_thread(server.threads, _errors, server, db, model, skip, limit)
    return Response(answer, media_type="application/json")


def _predict(server: State, db: Datalayer, name: str, call: Call) -> bytes:
    identifier = named(server, db, "Model", name)
    model: Model = db.load("model", identifier)
    kinds = _kinds(db, model)
    with Reader(db, None, int(server.settings.max_row)) as reader:
        args = [
            _argument(reader, kinds.get(str(place)), value, f"args[{place}]") for place, value in enumerate(call.args)
        ]
        kwargs = {key: _argument(reader, kinds.get(key), value, f"kwargs.{key}") for key, value in call.kwargs.items()}
        output = db.predict(identifier, *args, **kwargs)
    found: DataType | None = model.datatype if isinstance(model.datatype, DataType) else None
    if found is not None and found.codec not in ("text", "json"):
        data = found.encode(output)
        output = {"$type": found.identifier, "$base64": dumps(data)} if not isinstance(data, bytes) else data
    answer = dumps({"output": output})
    if len(answer) > server.settings.max_answer:
        raise TooLarge(f"the output is more than {server.settings.max_answer:,} bytes")
    return answer


def _kinds(db: Datalayer, model: Model) -> dict[str, Any]:
    """What each argument is, by its place or name, as far as the fields of the model's table say it."""
    spec = model.predict_spec or model.training
    if spec is None:
        return {}
    try:
        fields = db.upkeep.catalog.entry(spec.table).codec.schema.fields
    except NotFound:
        return {}
    names = {str(place): field for place, field in enumerate(spec.call.args)} | dict(spec.call.kwargs)
    return {argument: fields[field] for argument, field in names.items() if field in fields}


def _argument(reader: Reader, kind: Any, value: Any, where: str) -> Any:
    if not isinstance(kind, DataType):
        return restored(value, where)
    reader.fields = {where: kind}
    given = reader.value(where, value, "the call")
    data = getattr(given, "data", None)
    if data is None:
        return given
    try:
        return kind.decode(kind.encoded(data))
    except (EncodeError, SchemaMismatch) as error:
        raise type(error)(f"{where}: {error}") from error


def _errors(server: State, db: Datalayer, name: str, skip: int, limit: int) -> bytes:
    listener = db.listener(named(server, db, "Model", name))
    ledger = db.upkeep.ledger(listener)
    found = ledger.errors(db.upkeep.key(listener)) if ledger is not None else iter(())
    rows = [{"row": row["_source"], "error": row["_error"]} for row in islice(found, skip, skip + limit + 1)]
    return dumps({"errors": rows[:limit], "more": len(rows) > limit})
