"""``superduper …``: kubectl's words and habits, with and without a cluster. Sub-commands are imported when they are called."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import click

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130

COMMANDS = {
    "apply": "Bring manifests in: tables filled, models trained, run and measured",
    "diff": "Show what apply would change",
    "get": "List objects, or show one as YAML or JSON",
    "describe": "Tell all about one object: spec, status, versions, jobs, errors",
    "delete": "Remove objects; deletionPolicy says what becomes of their data",
    "insert": "Add rows to a table",
    "query": "Show rows of a table",
    "predict": "Run a model once",
    "validate": "Measure a model",
    "errors": "List the rows on which a model failed",
    "rerun": "Compute a model's missing outputs",
    "artifact": "Look at, fetch and store artifacts",
    "verify": "Read every artifact and report damage",
    "gc": "Remove artifacts that nothing needs",
    "work": "Do all that one model's outputs need, as a job in a cluster does",
    "serve": "Serve a datalayer over HTTP",
    "completion": "Print the set-up of completion for your shell",
    "version": "Print the version",
}
"""Every sub-command and its one line of help: listed here so that help needs to import none of them."""


@dataclass
class Run:
    """What all sub-commands share."""

    home: str | None = None
    debug: bool = False
    datalayer: str | None = None
    uri: str | None = None
    token: str | None = None
    namespace: str | None = None
    direct: bool = False

    def folder(self) -> Path:
        """The home folder: ``--home``, else the setting (``SUPERDUPER_HOME``), else ``.superduper``."""
        from superduper.config import CFG

        return Path(self.home or CFG.home)


class _Commands(click.Group):
    """A group whose commands are modules of this package."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        found: click.Command = importlib.import_module(f"superduper.cli.{cmd_name}").command
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        from superduper.errors import nearest

        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            ctx.fail(f"no command {args[0]!r}{nearest(args[0], COMMANDS)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--home", metavar="FOLDER", help="Where state is kept; default: SUPERDUPER_HOME, else .superduper.")
@click.option("--datalayer", metavar="NAME", help="Which Datalayer: of the home folder, else of kubectl's cluster.")
@click.option("--uri", metavar="URI", help="A database, or a Datalayer's server: http://host:8000.")
@click.option("--token", metavar="TOKEN", help="The server's token; better: SUPERDUPER_TOKEN.")
@click.option("-n", "--namespace", metavar="NAME", help="The cluster's namespace; leaves the home folder aside.")
@click.option(
    "--direct", is_flag=True, help="Reach the server by its address in the cluster, without kubectl's tunnel."
)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.pass_obj
def cli(
    run: Run,
    home: str | None,
    datalayer: str | None,
    uri: str | None,
    token: str | None,
    namespace: str | None,
    direct: bool,
    debug: bool,
) -> None:
    """Large and odd data beside your database, from YAML: applied, queried and predicted, here or in a cluster."""
    run.home, run.debug = home or run.home, debug or run.debug
    run.datalayer, run.uri, run.token, run.namespace, run.direct = datalayer, uri, token, namespace, direct


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0 it worked, 1 it failed or differs, 2 it was called wrongly."""
    run = Run()
    # User code is imported from the current folder, as `python -m` does.
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    sys.exit(_guarded(run, args))


def _guarded(run: Run, args: Sequence[str] | None) -> int:
    from superduper.errors import SuperduperError

    try:
        found = cli.main(args, prog_name="superduper", standalone_mode=False, obj=run)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return USAGE
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx is not None else "superduper"
        return _error(run, f"{error.format_message()} (see {path} --help)", USAGE)
    except click.ClickException as error:
        return _error(run, error.format_message(), FAILED)
    except (KeyboardInterrupt, click.Abort):
        return _error(run, "interrupted; what is done is kept, and the same command goes on from there", INTERRUPTED)
    except BrokenPipeError:
        # Whoever read our output has had enough; Python would complain once more when it closes it.
        sys.stdout = None
        return OK
    except SuperduperError as error:
        return _error(run, str(error), FAILED)
    except Exception as error:  # noqa: BLE001 - a person at a terminal is told, not shown a traceback
        text = f"this is a fault of superduper: {type(error).__name__}: {error}; --debug shows where"
        return _error(run, text, FAILED)
    return found if isinstance(found, int) else OK


def _error(run: Run, text: str, code: int) -> int:
    if run.debug and sys.exc_info()[0] is not None:
        traceback.print_exc()
    for line in text.splitlines() or [""]:
        click.echo(f"error: {line}", err=True)
    return code
