"""``superduper describe``."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from superduper.cli import Run, names
from superduper.cli.get import select
from superduper.cli.options import browsed, refuse_uri
from superduper.cli.options import command as _command
from superduper.cli.output import age, columns, short

if TYPE_CHECKING:
    from superduper.datalayer import Datalayer
    from superduper.embedded.home import Home
    from superduper.embedded.state import Record

LAST = 5
"""Jobs and errors that are shown."""


@_command
@click.argument(
    "words", nargs=-1, required=True, metavar="KIND NAME… | KIND/NAME…", shell_complete=names.kinds_and_names("all")
)
@click.option("-o", "--output", type=click.Choice(["text", "json", "yaml"]), default="text", show_default=True)
@click.pass_obj
def describe(run: Run, words: tuple[str, ...], output: str) -> None:
    """Tell all about objects: spec, conditions, versions, jobs and the last errors."""
    from superduper.errors import SuperduperError
    from superduper.manifests import dump

    refuse_uri(run)
    with browsed(run, None) as home:
        if output != "text":
            for position, record in enumerate(select(home, words)):
                facts = _facts(home, record)
                click.echo(json.dumps(facts, indent=2) if output == "json" else "---\n" * (position > 0) + dump(facts))
            return
        for position, record in enumerate(select(home, words)):
            if position:
                click.echo("\n---\n")
            _object(record)
            if record.kind == "Datalayer":
                continue
            try:
                _inside(home.datalayer(record.datalayer), record)
            except SuperduperError as error:
                # What was applied is told even where its database is away.
                click.echo(f"\nDatalayer {record.datalayer}: {error}")


def _facts(home: Home, record: Record) -> dict[str, Any]:
    """What is told, as plain values."""
    from superduper.errors import SuperduperError

    found: dict[str, Any] = {"object": record.manifest()}
    if record.kind == "Datalayer":
        return found
    try:
        db = home.datalayer(record.datalayer)
    except SuperduperError as error:
        return found | {"unreachable": str(error)}
    found["versions"] = list(db.metadata.versions(record.kind.lower(), record.identifier))
    if record.kind == "Model":
        jobs = [asdict(job) for job in db.metadata.jobs(record.identifier, limit=LAST)]
        errors = db.errors(record.identifier)[:LAST] if getattr(record.status, "failed", None) else []
        found |= json.loads(json.dumps({"jobs": jobs, "errors": errors}, default=_plain))
    return found


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _object(record: Record) -> None:
    from superduper.manifests import dump

    status = record.status.model_dump(mode="json", by_alias=True, exclude_none=True)
    facts = [
        ("Name:", record.name),
        ("Kind:", record.kind),
        ("Identifier:", record.identifier),
        ("Datalayer:", record.datalayer),
        ("Generation:", str(record.generation)),
        ("Created:", f"{record.created} ({age(record.created)} ago)"),
    ]
    click.echo("\n".join(f"{name:<12} {value}" for name, value in facts))
    click.echo("\nSpec:\n" + _indented(dump(record.object.spec)))
    found = record.status.conditions
    status.pop("conditions", None)
    click.echo("\nStatus:\n" + _indented(dump(status)))
    rows = [(c.type, c.status, c.reason.value, age(c.last_transition_time), c.message) for c in found]
    click.echo("\nConditions:\n" + columns(("TYPE", "STATUS", "REASON", "AGE", "MESSAGE"), rows, "  "))


def _inside(db: Datalayer, record: Record) -> None:
    versions = db.metadata.versions(record.kind.lower(), record.identifier)
    click.echo(f"\nVersions:    {', '.join(map(str, versions)) or 'none'}")
    if record.kind != "Model":
        return
    jobs = db.metadata.jobs(record.identifier, limit=LAST)
    rows = [
        (
            job.kind,
            str(job.version),
            job.phase,
            f"{job.rows:,}",
            f"{job.failed:,}",
            age(job.started),
            short(job.message or None, 70),
        )
        for job in jobs
    ]
    header = ("JOB", "VERSION", "PHASE", "ROWS", "FAILED", "AGE", "MESSAGE")
    click.echo("\nJobs:\n" + (columns(header, rows, "  ") if rows else "  none"))
    if getattr(record.status, "failed", None):
        errors = db.errors(record.identifier)
        shown = [(short(found["row"]), short(found["error"], 90)) for found in errors[:LAST]]
        click.echo(f"\nErrors ({len(errors):,} rows):\n" + columns(("ROW", "ERROR"), shown, "  "))


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.rstrip().splitlines())


command = describe
