"""``superduper insert``."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from superduper.cli import FAILED, OK, Run, names
from superduper.cli.options import Target, as_json, place, target
from superduper.cli.options import command as _command
from superduper.cli.output import condition, json_line, short

if TYPE_CHECKING:
    from superduper.backends.base.metadata import JobRecord

ROWS, BYTES = 100_000, 1 << 30
"""Rows of one insert, and bytes of the files that they name, at most: they are in memory together, and written as one."""


@_command
@click.argument("table", shell_complete=names.of("Table"))
@click.option(
    "-f",
    "--filename",
    "file",
    type=click.Path(readable=False),
    metavar="FILE.jsonl|-",
    help="A row a line; - reads standard input.",
)
@click.option("--set", "values", multiple=True, metavar="FIELD=VALUE", help="A field of a single row, several times.")
@place
@as_json
@click.pass_obj
def insert(
    run: Run, table: str, file: str | None, values: tuple[str, ...], datalayer: str | None, uri: str | None, json_: bool
) -> int:
    """Add rows to a table, all or none; models that keep up with it are run on these alone.

    Texts become what the field's type says; for a DataType such as image or file they name a file. At most 100,000
    rows at once. Exits with 1 if nothing was inserted, and if a model failed on a row: the rows are in then.
    """
    if (file is None) == (not values):
        raise click.UsageError("give rows with -f FILE, or one row with --set FIELD=VALUE")
    with target(run, "Table", table, datalayer, uri) as found:
        rows = list(_bounded(_read(found, file, values)))
        if not rows:
            raise click.ClickException(f"{file}: no rows in it")
        ids, jobs = found.db.insert(found.identifier, rows)
        ran = _by_model(jobs)
        lines = _settle(found, ran)
        if json_:
            facts = {"predicted": "predicted", "failed": "failed", "errors": "error"}
            per_model = {
                key: {model: value for model, one in ran.items() if (value := getattr(one, name))}
                for key, name in facts.items()
            }
            json_line({"inserted": len(ids), "ids": ids, **per_model})
        else:
            shown = ", ".join(short(key) for key in ids[:5]) + (", …" if len(ids) > 5 else "")
            click.echo(f"table/{table}: {len(ids):,} rows inserted ({shown})")
            for line in lines:
                click.echo(line)
    return FAILED if any(one.failed or one.error for one in ran.values()) else OK


@dataclass(slots=True)
class _Ran:
    """What became of one model: rows that it predicted and on which it failed, or why it could not run."""

    predicted: int = 0
    failed: int = 0
    error: str = ""


def _by_model(jobs: Iterable[JobRecord]) -> dict[str, _Ran]:
    found: dict[str, _Ran] = {}
    for job in jobs:
        one = found.setdefault(job.model, _Ran())
        if job.phase == "Failed":
            one.error = job.message
        elif job.kind == "predict":
            one.predicted += job.rows - job.failed
            one.failed += job.failed
    return found


def _bounded(rows: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """The rows, as long as they are few enough to be one write."""
    from superduper.document import Encoded

    size = 0
    for number, row in enumerate(rows, 1):
        size += sum(len(value.data) for value in row.values() if isinstance(value, Encoded))
        if number > ROWS or size > BYTES:
            raise click.ClickException(
                f"nothing was inserted: one insert takes at most {ROWS:,} rows and {BYTES >> 30} GiB of the files that "
                "they name; split the file, or make it the source of a Table, which apply reads in batches"
            )
        yield row


def _read(found: Target, file: str | None, values: tuple[str, ...]) -> Iterator[Mapping[str, Any]]:
    """Documents, by the fields that the table declares."""
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
        yield row(dict(_pair(value) for value in values), "--set")
        return
    name = "<stdin>" if file == "-" else file
    try:
        with sys.stdin if file == "-" else Path(file).open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield row(parse_line(line, f"{name}:{number}"), f"{name}:{number}")
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


def _settle(found: Target, ran: dict[str, _Ran]) -> list[str]:
    """Bring statuses up to date, and train models that waited for rows; gives a line for each model that ran.

    What newly keeps a model from being ready is added to ``ran``.
    """
    from superduper.embedded.apply import Apply
    from superduper.embedded.models import predicted, refresh

    lines = [
        f"model/{model} failed: {one.error}"
        if one.error
        else f"model/{model}: {predicted(one.predicted, one.failed, model)}"
        for model, one in ran.items()
    ]
    if found.record is None:
        return lines
    apply = Apply(found.home, _Quiet())
    apply.again(found.record)
    for record in found.home.state.all():
        if record.datalayer != found.record.datalayer or record.kind != "Model":
            continue
        if found.identifier not in record.object.spec.tables:  # type: ignore[union-attr]
            continue
        if record.status.ready:
            found.home.state.put(refresh(found.db, record))
            continue
        result = apply.again(record)
        if result.note:
            lines.append(f"model/{record.name}: {result.note}")
        _, reason, message = condition(result.record)
        if result.stalled and record.identifier not in ran and condition(record) != condition(result.record):
            ran[record.identifier] = _Ran(error=f"{reason}: {message}")
            lines.append(f"model/{record.name} failed: {reason}: {message}")
    return lines


class _Quiet:
    """Says nothing: what came of it is in the results."""

    def say(self, text: str) -> None:
        """Nothing."""

    def progress(self, what: str, done: int, total: int | None, failed: int = 0) -> None:
        """Nothing: rows inserted by hand are few."""


command = insert
