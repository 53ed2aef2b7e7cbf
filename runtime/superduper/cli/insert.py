"""``superduper insert``."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from superduper.cli import Run
from superduper.cli.options import Target, as_json, place, target
from superduper.cli.options import command as _command
from superduper.cli.output import json_line, short

BATCH = 500


@_command
@click.argument("table")
@click.option("-f", "--filename", "file", metavar="FILE.jsonl|-", help="A row a line; - reads standard input.")
@click.option("--set", "values", multiple=True, metavar="FIELD=VALUE", help="A field of a single row, several times.")
@place
@as_json
@click.pass_obj
def insert(
    run: Run, table: str, file: str | None, values: tuple[str, ...], datalayer: str | None, uri: str | None, json_: bool
) -> None:
    """Add rows to a table; models that keep up with it are run on these alone.

    Texts become what the field's type says; for a DataType such as image or file they name a file.
    """
    if (file is None) == (not values):
        raise click.UsageError("give rows with -f FILE, or one row with --set FIELD=VALUE")
    with target(run, "Table", table, datalayer, uri) as found:
        ids: list[Any] = []
        predicted: dict[str, int] = {}
        for rows in _read(found, file, values):
            written = found.db.insert(found.identifier, rows)
            ids += written.ids
            for job in written.jobs:
                predicted[job.model] = predicted.get(job.model, 0) + job.rows
        ran = _settle(found)
        if json_:
            json_line({"inserted": len(ids), "ids": ids, "predicted": predicted})
            return
        shown = ", ".join(short(key) for key in ids[:5]) + (", …" if len(ids) > 5 else "")
        click.echo(f"table/{table}: {len(ids):,} rows inserted ({shown})")
        for model, number in predicted.items():
            click.echo(f"model/{model}: predicted {number:,} rows")
        for line in ran:
            click.echo(line)


def _read(found: Target, file: str | None, values: tuple[str, ...]) -> Iterator[list[Mapping[str, Any]]]:
    """Batches of documents, by the fields that the table declares."""
    from superduper.embedded.folders import LocalFolder
    from superduper.embedded.formats import Fields, parse_line
    from superduper.errors import NotFound

    try:
        table = found.db.load("table", found.identifier)
    except NotFound:
        # The datalayer infers a schema for a table that it does not know.
        table = None
    base = Path.cwd() if file in (None, "-") else Path(str(file)).resolve().parent
    fields = None if table is None else Fields(LocalFolder(base, bound=False), table)

    def row(given: Mapping[str, Any], where: str) -> Mapping[str, Any]:
        return given if fields is None else fields.row(given, where)

    if file is None:
        yield [row(dict(_pair(value) for value in values), "--set")]
        return
    name = "<stdin>" if file == "-" else file
    try:
        with sys.stdin if file == "-" else Path(file).open(encoding="utf-8") as lines:
            batch = []
            for number, line in enumerate(lines, 1):
                if line.strip():
                    batch.append(row(parse_line(line, f"{name}:{number}"), f"{name}:{number}"))
                if len(batch) == BATCH:
                    yield batch
                    batch = []
            if batch:
                yield batch
    except OSError as error:
        raise click.ClickException(f"{name}: cannot be read: {error.strerror}") from error


def _pair(text: str) -> tuple[str, Any]:
    import json

    name, equals, value = text.partition("=")
    if not equals or not name:
        raise click.UsageError(f"--set {text}: write FIELD=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _settle(found: Target) -> list[str]:
    """Bring statuses up to date, and train models that waited for rows; lines to print."""
    from superduper.embedded.apply import Apply
    from superduper.embedded.models import refresh

    if found.record is None:
        return []
    said: list[str] = []
    apply = Apply(found.home, _Quiet(said))
    apply.again(found.record)
    for record in found.home.state.all():
        if record.datalayer != found.record.datalayer or record.kind != "Model":
            continue
        if found.identifier not in record.object.spec.tables:  # type: ignore[union-attr]
            continue
        if record.status.ready:
            found.home.state.put(refresh(found.db, record))
        else:
            apply.again(record)
    return [line for line in said if line.startswith("model/") and "unchanged:" in line]


class _Quiet:
    """Keeps what is said, and shows no progress."""

    def __init__(self, said: list[str]) -> None:
        self.said = said

    def say(self, text: str) -> None:
        """Keep the line."""
        self.said.append(text)

    def progress(self, what: str, done: int, total: int | None, failed: int = 0) -> None:
        """Nothing: rows inserted by hand are few."""


command = insert
