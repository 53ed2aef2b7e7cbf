"""``superduper validate``."""

from __future__ import annotations

from dataclasses import replace

import click

from superduper.cli import Run, names
from superduper.cli.options import as_json, place, target
from superduper.cli.options import command as _command
from superduper.cli.output import columns, json_line


@_command
@click.argument("model", shell_complete=names.of("Model"))
@place
@as_json
@click.pass_obj
def validate(run: Run, model: str, datalayer: str | None, uri: str | None, json_: bool) -> None:
    """Measure a model by its validation, and keep the metrics in its status."""
    with target(run, "Model", model, datalayer, uri) as found:
        metrics = found.db.validate(found.identifier)
        if found.record is not None:
            status = found.record.status.model_copy(update={"metrics": metrics})
            found.home.state.put(replace(found.record, status=status))
        if json_:
            json_line({"model": model, "metrics": metrics})
        else:
            click.echo(columns(("METRIC", "VALUE"), [(name, f"{value:.6g}") for name, value in metrics.items()]))


command = validate
