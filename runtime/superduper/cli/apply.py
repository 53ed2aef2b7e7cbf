"""``superduper apply -f``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from superduper.cli import FAILED, OK, Run
from superduper.cli.options import as_json, command, files, opened
from superduper.cli.output import columns, condition, details, json_line, short, table
from superduper.cli.progress import reporter

if TYPE_CHECKING:
    from superduper.embedded.apply import Result
    from superduper.embedded.home import Home

SAMPLE = 5
"""Rows with outputs that are shown of each model."""


@command
@files
@click.option("--dry-run", is_flag=True, help="Only say what would change.")
@click.option("--full", is_flag=True, help="Read sources again even if they look unchanged.")
@as_json
@click.pass_obj
def apply(run: Run, files: tuple[str, ...], dry_run: bool, full: bool, json_: bool) -> int:
    """Bring manifests in: stores opened, tables filled from their sources, models trained, run and measured.

    What is the same already is left alone. Exits with 1 if an object fails; the others go on.
    """
    from superduper.embedded.apply import Apply
    from superduper.manifests import load

    if not files:
        raise click.UsageError("nothing to apply: give -f FILE, -f FOLDER or -f -")
    started = time.monotonic()
    with opened(run) as home:
        manifests = load(files, known=home.state.known())
        if dry_run:
            return _dry_run(home, manifests, json_)
        with reporter(json=json_) as told:
            results = Apply(home, told, full=full).run(manifests)
        if json_:
            for result in results:
                json_line(_event(result))
        else:
            _summary(home, results, time.monotonic() - started)
    return FAILED if any(result.stalled for result in results) else OK


def _dry_run(home: Home, manifests: Sequence[Any], json_: bool) -> int:
    from superduper.embedded.plan import plan

    for change in plan(home.state, manifests):
        if json_:
            json_line({"event": "plan", "kind": change.kind, "name": change.name, "action": change.action})
        else:
            click.echo(f"{change.kind.lower()}/{change.name} {change.action} (dry run)")
    return OK


def _event(result: Result) -> dict[str, Any]:
    ready, reason, message = condition(result.record)
    record = result.record
    return {
        "event": "object",
        "kind": record.kind,
        "name": record.name,
        "did": result.did,
        "ready": ready == "True",
        "reason": reason,
        "message": message,
        "ran": result.note,
        "status": record.status.model_dump(mode="json", by_alias=True, exclude_none=True),
    }


def _summary(home: Home, results: Sequence[Result], seconds: float) -> None:
    rows = []
    for result in results:
        ready, reason, message = condition(result.record)
        facts = ", ".join(f"{name} {text}" for name, text in details(result.record) if text != "-")
        rows.append((result.record.kind, result.record.name, ready, reason, short(message or facts or "-", 70)))
    click.echo("\n" + columns(("KIND", "NAME", "READY", "REASON", "MESSAGE"), rows))
    for result in results:
        if result.record.kind == "Model" and not result.stalled:
            _model(home, result)
    same = all(result.did == "unchanged" for result in results)
    text = "nothing changed, nothing was run" if same else f"{len(results)} objects applied"
    failed = sum(result.stalled for result in results)
    text = f"{failed} of {len(results)} objects failed" if failed else text
    click.echo(f"\n{text} ({seconds:.1f} s)")


def _model(home: Home, result: Result) -> None:
    """Coverage, metrics and a few rows with outputs."""
    from superduper.embedded.view import peek

    record = result.record
    lines = [f"{name}: {text}" for name, text in details(record) if text not in ("-", "0")]
    click.echo(f"\nmodel/{record.name}  " + "; ".join(lines))
    predict = getattr(record.object.spec, "predict", None)
    if predict is None or not getattr(record.status, "predicted", None):
        return
    db = home.datalayer(record.datalayer)
    validation = getattr(record.object.spec, "validation", None)
    target = validation.target if validation is not None and validation.table == predict.table else None
    fields = [*predict.call.fields, *([target] if target else [])]
    found = peek(db, predict.table, predict.filter, fields=fields, limit=SAMPLE, outputs=[record.identifier])
    click.echo(table(found, "  "))


# The module's command has the same name in all of this folder.
command = apply
