"""``superduper verify``."""

from __future__ import annotations

import click

from superduper.cli import FAILED, OK, Run
from superduper.cli.options import as_json, connected, place
from superduper.cli.options import command as _command
from superduper.cli.output import json_line


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
                json_line({"reference": one.reference, "key": one.key, "problem": one.problem})
            else:
                click.echo(f"{one.reference or one.key}: {one.problem}")
        if not json_:
            text = f"{len(damage):,} damaged or missing" if damage else "every artifact is as it was stored"
            click.echo(text + (", set aside under corrupt/" if damage and set_aside else ""))
    return FAILED if damage else OK


command = verify
