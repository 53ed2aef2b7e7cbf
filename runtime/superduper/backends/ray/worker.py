"""What runs in a Ray actor."""

from __future__ import annotations

import socket
from typing import Any, Literal

from superduper.backends.base.worker import readable, run_batch
from superduper.errors import CodeError

WHERE = "a ray worker"


class Worker:
    """One process that runs models; keeps the latest of them loaded."""

    def ready(self) -> bool:
        """Answers once it is there."""
        return True

    def run(self, digest: str, model: list[Any], data: bytes) -> tuple[Literal["done", "code"], bytes]:
        """The pickled ``Done`` of a pickled batch, or what does not load here, in words.

        ``model`` holds the reference to the pickled model: in a list, so that Ray does not bring it with each batch.
        """
        import ray

        try:
            return "done", run_batch(WHERE, digest, lambda: ray.get(model[0]), data)
        except CodeError as error:
            return "code", str(error).encode()

    def sees(self, path: str) -> str | None:
        """None where the file can be read here, else which machine this is."""
        return None if readable(path) else socket.gethostname()
