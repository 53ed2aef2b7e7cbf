"""Talks to Ray for a datalayer: ``python -m superduper.backends.ray FD ADDRESS [FOLDER]``.

Over the control socket FD come the sockets of those who run models, one for each pass; it ends with that socket.
ADDRESS is ``own`` (a cluster below this process, with its files in FOLDER), or one that Ray understands.
"""

from __future__ import annotations

import json
import logging
import os
import select
import shutil
import socket
import sys
import threading
from multiprocessing.connection import Connection

import ray

from superduper.backends.ray.pool import Pool
from superduper.backends.ray.serving import Serving
from superduper.code import describe

STORE = 256 << 20
"""Bytes of the own cluster's object store: four batches of a quarter of the default budget; more goes to the disk."""
ATTEMPTS = 3
"""A client server on a busy machine gives up on the process that it starts for each client."""
REST = 5.0
"""Seconds between looks for actors that nobody uses."""


def main(control: socket.socket, address: str, folder: str | None) -> None:
    """Connect, say so in one line of JSON, and serve."""
    try:
        _connect(address, folder)
    except Exception as error:  # noqa: BLE001 - told to whoever started this
        control.sendall(json.dumps({"error": describe(error)}).encode() + b"\n")
        return
    control.sendall(json.dumps({"version": ray.__version__}).encode() + b"\n")
    pool = Pool()
    while True:
        ready, _, _ = select.select([control], [], [], REST)
        if not ready:
            if address != "own":
                pool.rest()
            continue
        _, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if not descriptors:
            return
        serving = Serving(Connection(descriptors[0]), pool)
        threading.Thread(target=serving.run, daemon=True).start()


def _connect(address: str, folder: str | None) -> None:
    if address != "own":
        for attempt in range(ATTEMPTS):
            try:
                ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
            except ConnectionError:
                if attempt == ATTEMPTS - 1:
                    raise
            else:
                return
    ray.init(
        "local",
        num_cpus=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        num_gpus=0,
        include_dashboard=False,
        object_store_memory=STORE,
        log_to_driver=False,
        logging_level=logging.ERROR,
        _temp_dir=folder,
    )


if __name__ == "__main__":
    _control = socket.socket(fileno=int(sys.argv[1]))
    _folder = sys.argv[3] if len(sys.argv) > 3 else None
    try:
        main(_control, sys.argv[2], _folder)
        ray.shutdown()
    finally:
        if _folder is not None:
            shutil.rmtree(_folder, ignore_errors=True)
        # Threads of Ray's, and those that wait for models, are not waited for.
        os._exit(0)
