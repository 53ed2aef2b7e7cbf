"""``python -m superduper_operator``: the operator, configured by SUPERDUPER_OPERATOR_… (docs/operator.md)."""

from __future__ import annotations

import argparse
import asyncio
import sys
from importlib.metadata import version

from pydantic import ValidationError

from superduper_operator import logs
from superduper_operator.settings import Settings


def main() -> int:
    """Run it; returns the exit code: 0 after a signal, 1 after a failure, 2 for wrong settings."""
    parser = argparse.ArgumentParser(prog="superduper_operator", description=__doc__)
    parser.add_argument("--version", action="version", version=version("superduper"))
    parser.parse_args()
    try:
        settings = Settings()
    except ValidationError as error:
        for wrong in error.errors():
            name = "_".join(str(part) for part in wrong["loc"]).upper()
            sys.stderr.write(f"SUPERDUPER_OPERATOR_{name}: {wrong['msg']}\n")
        return 2
    logs.configure(settings.log_format, settings.log_level)
    # Late, so that wrong settings are said at once.
    from superduper_operator import runtime_client
    from superduper_operator.kinds import reconcilers
    from superduper_operator.manager import operate

    return asyncio.run(operate(settings, reconcilers(), runtime_client.connect))


if __name__ == "__main__":
    sys.exit(main())
