"""What is said between a datalayer's process and the program that talks to Ray for it.

A message is two frames: its head, and bytes that neither side looks into. Each ``next`` and ``alone`` is answered by
one message; nothing else is.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from typing import Literal

Word = Literal["begin", "model", "batch", "alone", "next", "folder", "known", "done", "died", "code", "wrong", "idle"]


@dataclass(frozen=True, slots=True)
class Message:
    """To Ray: ``begin`` (model's digest), ``model``, ``batch``, ``alone``, ``next``, ``folder``.

    Back: ``known`` (text: whether the model is there), ``done`` (number of the batch), ``died`` (its worker did),
    ``code`` (does not load on a worker), ``wrong`` (workers cannot run models), ``idle`` (there are no workers).
    """

    word: Word
    number: int = 0
    text: str = ""
    data: bytes = b""


def send(connection: Connection, message: Message) -> None:
    """Raises OSError where the other side is gone."""
    head = {key: value for key, value in asdict(message).items() if key != "data"}
    connection.send_bytes(json.dumps(head).encode())
    connection.send_bytes(message.data)


def receive(connection: Connection) -> Message:
    """Raises OSError or EOFError where the other side is gone."""
    head = json.loads(connection.recv_bytes())
    return Message(**head, data=connection.recv_bytes())
