"""``superduper errors``."""

from __future__ import annotations

import click

from superduper.cli import Run, names
from superduper.cli.options import as_json, place, target
from superduper.cli.options import command as _command
from superduper.cli.output import columns, json_line, short


@_command
@click.argument("model", shell_complete=names.of("Model"))
@place
@as_json
@click.pass_obj
def errors(run: Run, model: str, datalayer: str | None, uri: str | None, json_: bool) -> None:
    """List the rows on which a model failed, with the error of each."""
    with target(run, "Model", model, datalayer, uri) as found:
        failed = found.db.errors(found.identifier)
        if json_:
            for one in failed:
                json_line(one)
        elif failed:
            click.echo(columns(("ROW", "ERROR"), [(short(one["row"]), short(one["error"], 160)) for one in failed]))
        else:
            click.echo(f"model/{model}: no row failed")


command = errors
