from __future__ import annotations

import pytest

from superduper.artifacts import reference
from superduper.errors import InvalidReference

SHA1, SHA256 = "0123456789abcdef" * 2 + "01234567", "0123456789abcdef" * 4


@pytest.mark.parametrize("id", [SHA1, SHA256], ids=["sha1", "sha256"])
def test_a_reference_is_read_back_as_it_was_written(id: str) -> None:
    assert reference.blob(id) == f"&:blob:{id}"
    assert reference.file(id) == f"&:file:{id}"
    assert reference.parse(reference.blob(id)) == ("blob", id)
    assert reference.parse(reference.file(id)) == ("file", id)
    assert str(reference.parse(reference.file(id))) == reference.file(id)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nope",
        "&:blob:",
        "&:blob:nope",
        "&:blob:../x",
        "&:file:/etc/passwd",
        f"&:blob:{SHA1[:-1]}",
        f"&:blob:{SHA1}0",
        f"&:blob:{SHA1.upper()}",
        f"&:blob:{SHA1}\n",
        f" &:blob:{SHA1}",
        f"&:BLOB:{SHA1}",
        f"&:tree:{SHA1}",
        f"&:blob:file:{SHA1}",
        f"&:blob:{SHA1[:-1]}٣",
        None,
        b"&:blob:" + SHA1.encode(),
    ],
    ids=repr,
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidReference, match="no reference"):
        reference.parse(text)


@pytest.mark.parametrize("id", ["", "x", "../x", SHA1.upper(), SHA1 + "\n"], ids=repr)
def test_no_reference_is_made_of_what_is_no_id(id: str) -> None:
    for make in (reference.blob, reference.file, reference.check_id):
        with pytest.raises(InvalidReference, match="lowercase hexadecimal"):
            make(id)
