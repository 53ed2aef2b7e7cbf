"""Derived tokens and passwords."""

from __future__ import annotations

import pytest

from superduper_operator.core.keys import Keys

KEYS = Keys(b"k" * 32)


def test_the_same_key_derives_the_same_secrets_for_ever() -> None:
    """Changing this changes the password of every database that exists."""
    assert KEYS.token("prod", "digits") == "Q9qoCfeGq5bySl2rKDNyUPfBSLbxItYSzGVLFqrZyCC"
    assert KEYS.token("prod", "digits") == Keys(b"k" * 32).token("prod", "digits")


def test_each_object_and_purpose_has_its_own() -> None:
    found = {
        keys.derive(namespace, name, purpose)
        for keys in (KEYS, Keys(b"l" * 32))
        for namespace in ("a", "b")
        for name in ("c", "d")
        for purpose in ("token", "password")
    }
    assert len(found) == 16


def test_a_secret_needs_no_quoting_anywhere() -> None:
    for n in range(50):
        assert KEYS.derive("n", str(n), "password", length=64).isalnum()
        assert int(KEYS.hex("n", str(n), "id"), 16) >= 0


def test_a_short_master_key_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the master key has 3 bytes; it needs 32"):
        Keys(b"abc")
