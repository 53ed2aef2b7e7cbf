"""A dask cluster of one's own on this machine, as long as its owner lives."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from pathlib import Path

from superduper.errors import Unreachable

START_DEADLINE = 60.0
"""Seconds until its scheduler must have said where it listens."""


class OwnCluster:
    """Scheduler and workers in processes below one of their own; they end with this one, whatever ends it.

    Its program is not the user's script, which dask's workers would otherwise import, and run, again.
    """

    def __init__(self) -> None:
        reading, writing = os.pipe()
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own program, with our own argument
                [sys.executable, "-P", "-m", "superduper.backends.dask", str(writing)],
                stdin=subprocess.PIPE,
                pass_fds=(writing,),
                # What the user's code imports here it imports there.
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)},
                # An interrupt from the keyboard is the owner's to handle.
                start_new_session=True,
            )
            os.close(writing)
            self.address = self._said(reading)
        finally:
            os.close(reading)

    def _said(self, reading: int) -> str:
        end, text = time.monotonic() + START_DEADLINE, b""
        while not text.endswith(b"\n"):
            ready, _, _ = select.select([reading], [], [], max(0.0, end - time.monotonic()))
            part = os.read(reading, 4096) if ready else b""
            if not part:
                self.close()
                problem = f"ended with {self._process.returncode}" if ready else "did not start in time"
                raise Unreachable(
                    f"the dask cluster of this machine {problem} (within {START_DEADLINE:.0f} s); see what it printed, "
                    "or use compute='local'"
                )
            text += part
        return text.decode().strip()

    def close(self) -> None:
        """End its processes."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            # The workers end by themselves when it is gone.
            self._process.kill()
            self._process.wait()
