"""Two payloads with one id: with a hash made weak for the test, since real ones take a data centre."""

from __future__ import annotations

import hashlib

import pytest

from superduper.artifacts import Artifacts, digests
from superduper.artifacts.packs import SMALL
from superduper.backends.memory.artifacts import MemoryArtifactStore
from superduper.errors import ArtifactCollision, ConfigError


class _Weak:
    """Hashes nothing but the first byte."""

    def __init__(self, data: bytes = b"") -> None:
        self._first = bytes(data[:1])

    def update(self, data: bytes) -> None:
        self._first = self._first or bytes(data[:1])

    def digest(self) -> bytes:
        return hashlib.sha1(self._first).digest()

    def hexdigest(self) -> str:
        return self.digest().hex()


@pytest.fixture
def artifacts(monkeypatch: pytest.MonkeyPatch) -> Artifacts:
    monkeypatch.setitem(digests.HASHERS, 20, _Weak)
    return Artifacts(MemoryArtifactStore())


def test_other_bytes_in_the_same_batch_are_an_error(artifacts: Artifacts) -> None:
    with pytest.raises(ArtifactCollision, match="sha256"), artifacts.writing() as writer:
        writer.put(b"a1")
        writer.put(b"a2")


@pytest.mark.parametrize("size", [2, SMALL + 1])
@pytest.mark.parametrize("others", [0, 30], ids=["loose", "packed"])
def test_other_bytes_in_the_store_are_an_error_and_what_was_there_stays(
    artifacts: Artifacts, size: int, others: int
) -> None:
    with artifacts.writing() as writer:
        id = writer.put(b"a".ljust(size, b"1"))
        for n in range(others):
            writer.put(bytes([n]))
    with pytest.raises(ArtifactCollision, match="sha256") as caught, artifacts.writing() as writer:
        writer.put(b"a".ljust(size, b"2"))
    assert caught.value.reference == f"&:blob:{id}"
    assert artifacts.get(id) == b"a".ljust(size, b"1")


def test_an_unknown_hash_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'sha256'"):
        Artifacts(MemoryArtifactStore(), hash="sha-256")
