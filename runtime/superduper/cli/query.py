"""``superduper query``."""

from __future__ import annotations

import json
from typing import Any

import click

from superduper.cli import Run, names
from superduper.cli.options import as_json, place, target
from superduper.cli.options import command as _command
from superduper.cli.output import json_line, table


@_command
@click.argument("name", metavar="TABLE", shell_complete=names.of("Table"))
@click.argument("filter", required=False, metavar="[FILTER]")
@click.option("--limit", type=click.IntRange(0), default=20, show_default=True, help="Rows at most; 0: all.")
@click.option("--skip", type=click.IntRange(0), default=0, help="Rows to leave out first.")
@click.option("--sort", metavar="FIELD,-FIELD", help="In this order; - is descending.")
@click.option("--fields", metavar="FIELD,…", help="These fields only.")
@click.option(
    "--outputs",
    multiple=True,
    metavar="MODEL",
    shell_complete=names.of("Model"),
    help="Join a model's outputs; several times.",
)
@click.option("--count", is_flag=True, help="Only say how many rows pass.")
@place
@as_json
@click.pass_obj
def query(
    run: Run,
    name: str,
    filter: str | None,
    limit: int,
    skip: int,
    sort: str | None,
    fields: str | None,
    outputs: tuple[str, ...],
    count: bool,
    datalayer: str | None,
    uri: str | None,
    json_: bool,
) -> None:
    """Show rows of a table: superduper query docs '{"x": {"$gt": 3}}' --sort -x.

    Payloads are not loaded: they stand as type, size and hash. outputs.MODEL is the table of a model's outputs.
    """
    from superduper.embedded.view import peek

    chosen = _filter(filter)
    with target(run, "Table", name, datalayer, uri) as found:
        if count:
            number = found.db[found.identifier].count_documents(chosen).execute()
            json_line({"count": number}) if json_ else click.echo(number)
            return
        rows = peek(
            found.db,
            found.identifier,
            chosen,
            fields=_words(fields),
            sort=[(word.removeprefix("-"), -1 if word.startswith("-") else 1) for word in _words(sort)],
            limit=limit or None,
            skip=skip,
            outputs=[_listener(found, model) for model in outputs],
        )
        if json_:
            for row in rows:
                json_line(row)
        else:
            click.echo(table(rows))


def _filter(text: str | None) -> dict[str, Any]:
    try:
        found = json.loads(text or "{}")
    except ValueError as error:
        raise click.UsageError(f'the filter is not JSON: {error}; write it as \'{{"x": {{"$gt": 3}}}}\'') from error
    if not isinstance(found, dict):
        raise click.UsageError("the filter must be a JSON object, as '{\"x\": 3}'")
    return found


def _words(text: str | None) -> list[str]:
    return [word.strip() for word in (text or "").split(",") if word.strip()]


def _listener(found: Any, model: str) -> str:
    """The identifier of a model that may be given by its object's name."""
    applied = found.record is not None or found.home.in_cluster
    record = found.home.state.find("Model", model) if applied else None
    return model if record is None else str(record.identifier)


command = query
