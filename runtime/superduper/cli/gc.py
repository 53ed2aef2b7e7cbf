"""``superduper gc``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from superduper.cli import Run
from superduper.cli.options import as_json, connected, place
from superduper.cli.options import command as _command
from superduper.cli.output import json_line

if TYPE_CHECKING:
    from superduper.datalayer import Datalayer
    from superduper.embedded.home import Home

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Window(click.ParamType):  # type: ignore[type-arg]
    """A duration, as 24h or 0s; in seconds."""

    name = "DURATION"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        text = str(value)
        if text[-1:] not in UNITS or not text[:-1].isdigit():
            self.fail(f"{text!r} is no duration: write a number and one of s, m, h and d, as 24h", param, ctx)
        return float(text[:-1]) * UNITS[text[-1]]


@_command
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@click.option("--window", type=Window(), help="Leave alone what is younger; default: the setting's 24h.")
@place
@as_json
@click.pass_obj
def gc(run: Run, dry_run: bool, window: float | None, datalayer: str | None, uri: str | None, json_: bool) -> None:
    """Remove artifacts that no row and no component needs, in the store of a Datalayer."""
    from superduper.embedded.view import size_text

    with connected(run, datalayer, uri) as (home, name, db):
        others = [] if name is None else _sharing(home, name)
        report = db.gc(window=window, dry_run=dry_run, also=others)
        if json_:
            json_line(
                {
                    "dryRun": report.dry_run,
                    "live": report.live,
                    "liveBytes": report.live_bytes,
                    "removed": report.removed,
                    "removedBytes": report.removed_bytes,
                    "damagedPacks": list(report.damaged_packs),
                }
            )
            return
        verb = "would be removed" if dry_run else "removed"
        click.echo(f"{report.removed:,} objects {verb} ({size_text(report.removed_bytes)})")
        click.echo(f"{report.live:,} objects kept ({size_text(report.live_bytes)})")
        for pack in report.damaged_packs:
            click.echo(f"{pack}: its index cannot be read, so it was left alone; see superduper verify")


def _sharing(home: Home, name: str) -> list[Datalayer]:
    """The other datalayers of the home that keep artifacts in the same store: what any of them needs stays."""
    records = [record for record in home.state.all() if record.kind == "Datalayer"]
    store = next(record.memo["artifact_store"] for record in records if record.name == name)
    sharing = [record.name for record in records if record.memo.get("artifact_store") == store]
    return [home.datalayer(other) for other in sharing if other != name]


command = gc
