"""One replica as a process, as ``python -m superduper_operator`` starts it, with the tests' reconciler."""

from __future__ import annotations

import asyncio
import sys

from superduper_operator import logs
from superduper_operator.manager import operate
from superduper_operator.settings import Settings
from tests.operator.core.harness import no_server
from tests.operator.core.mirror import Mirror

if __name__ == "__main__":
    settings = Settings()
    logs.configure(settings.log_format, settings.log_level)
    sys.exit(asyncio.run(operate(settings, [Mirror()], no_server)))
