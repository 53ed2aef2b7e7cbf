"""Tokens and passwords that are derived, so that the operator never reads a Secret to know one."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from typing import Final

from superduper_operator.core.api import Api
from superduper_operator.core.errors import AlreadyExists, ApiError, NotFound
from superduper_operator.core.manifest import Manifest

FIELD: Final = "key"
BYTES: Final = 32
ALPHABET: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


class Keys:
    """HMAC-SHA256 over ``namespace/name/purpose`` with the master key: the same answer each time, and after a restart.

    ``master``: at least 16 bytes.
    """

    def __init__(self, master: bytes) -> None:
        if len(master) < BYTES // 2:
            raise ValueError(
                f"the master key has {len(master)} bytes; it needs {BYTES}: delete its Secret to have one made"
            )
        self._master = master

    def token(self, namespace: str, datalayer: str) -> str:
        """The bearer token of a datalayer's server."""
        return self.derive(namespace, datalayer, "token")

    def derive(self, namespace: str, name: str, purpose: str, length: int = 43) -> str:
        """A secret of ``length`` letters and digits (5.95 bits each): safe in URIs, shells and YAML without quoting."""
        found: list[str] = []
        block = 0
        while len(found) < length:
            message = f"{namespace}/{name}/{purpose}#{block}".encode()
            # 248 is the largest multiple of 62 in a byte: what is above would favour the first letters.
            digest = hmac.new(self._master, message, hashlib.sha256).digest()
            found += [ALPHABET[byte % 62] for byte in digest if byte < 248]
            block += 1
        return "".join(found[:length])

    def hex(self, namespace: str, name: str, purpose: str, length: int = 32) -> str:
        """A secret of hexadecimal digits."""
        message = f"{namespace}/{name}/{purpose}".encode()
        return hmac.new(self._master, message, hashlib.sha256).hexdigest()[:length]


async def master_key(api: Api, namespace: str, name: str) -> bytes:
    """The master key in that Secret, which is made where it is missing. Of two replicas one makes it, both read it.

    Raises ``ApiError`` where the Secret holds no key.
    """
    for _ in range(3):
        try:
            secret = await api.get("Secret", namespace, name)
        except NotFound:
            try:
                secret = await api.create(_secret(namespace, name))
            except AlreadyExists:
                continue
        try:
            return base64.b64decode(secret["data"][FIELD], validate=True)
        except (KeyError, TypeError, ValueError) as error:
            message = f"Secret {namespace}/{name} has no master key under '{FIELD}': restore it from a backup"
            raise ApiError(message, what=f"Secret {namespace}/{name}") from error
    raise ApiError(f"Secret {namespace}/{name} is neither there nor can it be made: is it being deleted?")


def _secret(namespace: str, name: str) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {
                "app.kubernetes.io/managed-by": "superduper-operator",
                "app.kubernetes.io/part-of": "superduper",
            },
        },
        "type": "Opaque",
        "data": {FIELD: base64.b64encode(secrets.token_bytes(BYTES)).decode()},
    }
