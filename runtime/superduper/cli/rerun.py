"""``superduper rerun``."""

from __future__ import annotations

import click

from superduper.cli import FAILED, OK, Run, names
from superduper.cli.options import as_json, place, target
from superduper.cli.options import command as _command
from superduper.cli.output import condition, json_line
from superduper.cli.progress import reporter


@_command
@click.argument("model", shell_complete=names.of("Model"))
@click.option("--errors", is_flag=True, help="Also try rows again that failed.")
@click.option("--full", is_flag=True, help="Also find rows that were changed past superduper.")
@place
@as_json
@click.pass_obj
def rerun(run: Run, model: str, errors: bool, full: bool, datalayer: str | None, uri: str | None, json_: bool) -> int:
    """Compute a model's missing outputs, whatever its trigger. Exits with 1 if rows failed."""
    from superduper.embedded.models import covered, predicted, refresh

    with target(run, "Model", model, datalayer, uri) as found, reporter(json=json_) as told:
        what = f"model/{model} predicting"
        found.db.upkeep.progress = lambda _, done, failed, total: told.progress(what, done, total, failed)
        jobs = found.db.run(found.identifier, retry=errors, full=full)
        coverage = found.db.coverage(found.identifier)
        failed = sum(job.failed for job in jobs if job.model == found.identifier)
        rows = sum(job.rows for job in jobs if job.model == found.identifier) - failed
        if found.record is not None:
            record = refresh(found.db, found.record)
            found.home.state.put(record)
        told.say(f"model/{model}: {predicted(rows, failed, model)}; {covered(coverage)}")
        if json_:
            ready = condition(record)[0] == "True" if found.record is not None else not coverage.failed
            json_line(
                {
                    "event": "done",
                    "model": model,
                    "predicted": rows,
                    "rows": coverage.rows,
                    "done": coverage.done,
                    "failed": coverage.failed,
                    "ready": ready,
                }
            )
    return FAILED if coverage.failed else OK


command = rerun
