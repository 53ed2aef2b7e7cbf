"""``superduper serve``."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import click

from superduper.cli import OK, Run
from superduper.cli.options import command as _command
from superduper.errors import MissingExtra


@_command
@click.option("--host", help="Address to listen on; default: 0.0.0.0.")
@click.option("--port", type=click.IntRange(0, 65535), help="The public door; default: 8000.")
@click.option(
    "--admin-port", type=click.IntRange(0, 65535), help="Without TLS, for probes and the operator; default: 8001."
)
@click.option("--tls-cert", type=click.Path(dir_okay=False, path_type=Path), help="Certificate (chain), PEM.")
@click.option("--tls-key", type=click.Path(dir_okay=False, path_type=Path), help="Its key, PEM.")
@click.option("--max-body", metavar="SIZE", help="Of a request in JSON; default: 16MiB.")
@click.option("--max-row", metavar="SIZE", help="Of a row with its payloads; default: 64MiB.")
@click.option("--max-rows", type=click.IntRange(1), help="Of an answer that is not streamed; default: 10000.")
@click.option("--max-answer", metavar="SIZE", help="Of an answer that is not streamed; default: 64MiB.")
@click.option("--max-requests", type=click.IntRange(1), help="At a time; default: 256.")
@click.option("--max-held", metavar="SIZE", help="Of requests held in memory, all together; default: 384MiB.")
@click.option("--drain-seconds", type=click.FloatRange(0), help="For requests to end at SIGTERM; default: 30.")
@click.option("--insecure", is_flag=True, help="Ask for no token; only with --host 127.0.0.1.")
@click.pass_obj
def serve(run: Run, /, **given: Any) -> int:
    """Serve the datalayer that the settings name over HTTP: SUPERDUPER_DATABACKEND, SUPERDUPER_TOKEN and so on.

    Each option is a setting too, as SUPERDUPER_SERVE_PORT. It starts, and stays up, while the database is not there.
    """
    try:
        from superduper.server.listen import serve as listen
    except MissingExtra:
        raise
    except ImportError as error:
        raise MissingExtra(error.name or "fastapi", "server", "superduper serve") from error
    from superduper.config import CFG
    from superduper.server.settings import ServerSettings
    from superduper.server.state import State

    if run.home:
        CFG.home = run.home
    settings = ServerSettings(
        **{name: value for name, value in given.items() if value is not None and value is not False}
    )
    settings.check(CFG.token)
    logging.basicConfig(level=CFG.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True)
    logging.getLogger("uvicorn").setLevel("WARNING")
    state = State(settings, token=CFG.token or None)
    listen(state, lambda addresses: click.echo(f"listening on {' and '.join(addresses)}"))
    return OK


command = serve
