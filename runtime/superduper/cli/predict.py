"""``superduper predict``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from superduper.cli import Run, names
from superduper.cli.options import as_json, place, target
from superduper.cli.options import command as _command
from superduper.cli.output import json_line

if TYPE_CHECKING:
    from superduper.api.v1alpha1 import Inputs
    from superduper.components.model import Model
    from superduper.datalayer import Datalayer


@_command
@click.argument("model", shell_complete=names.of("Model"))
@click.argument("args", nargs=-1)
@click.option("--row", metavar="KEY", help="Take the inputs from this row of the model's table.")
@place
@as_json
@click.pass_obj
def predict(
    run: Run, model: str, args: tuple[str, ...], row: str | None, datalayer: str | None, uri: str | None, json_: bool
) -> None:
    """Run a model once, and keep nothing: superduper predict MODEL ARGUMENT….

    Arguments are JSON or texts; for an input of a DataType such as image they name a file.
    """
    if (row is None) == (not args):
        raise click.UsageError("give the model's arguments, or --row KEY")
    with target(run, "Model", model, datalayer, uri) as found:
        component = found.db.load("model", found.identifier)
        if row is not None:
            output = _of_row(found.db, component, row)
        else:
            output = found.db.predict(found.identifier, *_arguments(found.db, component, args))
        if json_:
            json_line({"model": model, "output": _plain(output)})
        else:
            click.echo(
                output if isinstance(output, str) else json.dumps(_plain(output), ensure_ascii=False, default=repr)
            )


def _of_row(db: Datalayer, model: Model, key: str) -> Any:
    from superduper.errors import ModelError, NotFound

    spec = model.predict_spec or model.training
    if spec is None:
        raise ModelError(
            f"model {model.identifier!r} has neither predict nor training, so its inputs are not known; give them"
        )
    entry = db.upkeep.catalog.entry(spec.table)
    name = entry.table.primary_key
    value: Any = int(key) if entry.table.columns[0].type == "int" and key.lstrip("-").isdigit() else key
    found = db[spec.table].find_one({name: value}).execute()
    if found is None:
        raise NotFound(f"table {spec.table!r} has no row {value!r}")
    values = found.unpack()
    positional = [values.get(field) for field in spec.call.args]
    named = {key: values.get(field) for key, field in spec.call.kwargs.items()}
    try:
        return db.predict(model.identifier, *positional, **named)
    except ModelError as error:
        raise ModelError(f"row {value!r} of table {spec.table!r}: {error}") from error


def _arguments(db: Datalayer, model: Model, given: tuple[str, ...]) -> list[Any]:
    from superduper.components.datatype import DataType
    from superduper.errors import NotFound

    spec = model.predict_spec or model.training
    inputs: Inputs | None = spec.call if spec is not None else None
    names = inputs.args if inputs is not None else ()
    try:
        kinds = db.upkeep.catalog.entry(spec.table).codec.schema.fields if spec is not None else {}
    except NotFound:
        kinds = {}
    values = []
    for position, text in enumerate(given):
        kind = kinds.get(names[position]) if position < len(names) else None
        if isinstance(kind, DataType) and kind.codec not in ("text", "json"):
            values.append(_file(kind, text))
        else:
            values.append(text if kind == "str" or getattr(kind, "codec", "") == "text" else _json(text))
    return values


def _file(kind: Any, text: str) -> Any:
    path = Path(text)
    if not path.exists():
        raise click.UsageError(
            f"{text}: there is no such file; an input of DataType {kind.identifier!r} is given as a file"
        )
    if kind.is_file:
        return str(path)
    return kind.decode(kind.encoded(path.read_bytes()))


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value


command = predict
