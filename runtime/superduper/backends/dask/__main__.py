"""Runs a cluster until its standard input ends: ``python -m superduper.backends.dask FD``.

The scheduler's address is written to the file descriptor.
"""

from __future__ import annotations

import logging
import os
import sys

from superduper.backends.dask.run import IN_FLIGHT


def main(descriptor: int) -> None:
    """Start as many workers as can have work, one thread each; all on the loopback interface."""
    from distributed import LocalCluster

    workers = min(IN_FLIGHT, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    with LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        dashboard_address=None,
        # It serves its health there all the same; any free port, as several clusters may run.
        scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
        silence_logs=logging.CRITICAL,
    ) as cluster:
        os.write(descriptor, f"{cluster.scheduler_address}\n".encode())
        os.close(descriptor)
        sys.stdin.buffer.read()


if __name__ == "__main__":
    main(int(sys.argv[1]))
