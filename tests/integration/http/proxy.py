"""A way to a server that can be made to fail: answers lost, connections cut in the middle, silence."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Proxy:
    """Passes connections on to ``port``; ``lose`` so many answers first; ``cut`` after so many bytes of an answer,
    ``cut_request`` after so many of a request."""

    def __init__(self, port: int) -> None:
        self.target = port
        self.lose = 0
        self.cut: int | None = None
        self.cut_request: int | None = None
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.connections += 1
                server = socket.create_connection(("127.0.0.1", self.target))
                for source, sink, answers in ((client, server, False), (server, client, True)):
                    threading.Thread(target=self._pass, args=(source, sink, answers), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if answers and self.lose:
                    self.lose -= 1
                    break
                if not answers and self.cut_request is not None:
                    self.cut_request -= len(data)
                    if self.cut_request < 0:
                        self.cut_request = None
                        break
                if answers and self.cut is not None:
                    data, left = data[: self.cut], self.cut - len(data)
                    self.cut = max(left, 0)
                    sink.sendall(data)
                    if left <= 0:
                        self.cut = None
                        break
                    continue
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def close(self) -> None:
        self._listener.close()


@contextmanager
def proxied(port: int) -> Iterator[Proxy]:
    proxy = Proxy(port)
    try:
        yield proxy
    finally:
        proxy.close()
