"""``superduper verify``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from superduper.cli import FAILED, OK, Run
from superduper.cli.options import as_json, connected, place
from superduper.cli.options import command as _command
from superduper.cli.output import json_line

if TYPE_CHECKING:
    from superduper.artifacts import Damage

SHOWN = 5
"""Rows that are named of each finding."""
REMEDY = (
    "To mend rows, store the same bytes again (superduper artifact put FILE, with --file for a file or folder), "
    "or restore the object from a backup of the store"
)


@_command
@click.option("--set-aside", is_flag=True, help="Move damaged objects out of the way; nothing is deleted.")
@place
@as_json
@click.pass_obj
def verify(run: Run, set_aside: bool, datalayer: str | None, uri: str | None, json_: bool) -> int:
    """Read every artifact and compare it with its hash. Exits with 1 if anything is damaged or missing."""
    with connected(run, datalayer, uri) as (_, _, db):
        damage = db.verify(set_aside=set_aside)
        for one in damage:
            if json_:
                holders = [{"table": each.table, "row": each.row, "field": each.field} for each in one.needed_by]
                json_line({"reference": one.reference, "key": one.key, "problem": one.problem, "neededBy": holders})
            else:
                click.echo(f"{one.reference or one.key}: {one.problem}")
                click.echo("\n".join(f"  {line}" for line in _needed_by(one)))
        if not json_:
            text = f"{len(damage):,} damaged or missing" if damage else "every artifact is as it was stored"
            click.echo(text + (", set aside under corrupt/" if damage and set_aside else ""))
            click.echo(REMEDY if damage else "", nl=bool(damage))
    return FAILED if damage else OK


def _needed_by(damage: Damage) -> Iterator[str]:
    for holder in damage.needed_by[:SHOWN]:
        yield f"needed by {holder}"
    if len(damage.needed_by) > SHOWN:
        yield f"and by {len(damage.needed_by) - SHOWN:,} more; --json lists all"
    if damage.reference and not damage.needed_by:
        yield "no row and no component needs it: gc removes it"


command = verify
