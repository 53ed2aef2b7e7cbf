"""Names of children."""

from __future__ import annotations

import re

import pytest

from superduper_operator.core import names

DNS_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (("digits", "server"), "digits-server"),
        (("digits", "metadata-postgres"), "digits-metadata-postgres"),
        (("a" * 60, "server"), "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-e05fee8b"),
        (("1st", "server"), "x-1st-server-097bdac0"),
        (("my.data", "s3"), "my-data-s3-244bebf1"),
    ],
    ids=["short names stay", "parts may hold dashes", "a long one is cut", "no digit at the start", "no dots"],
)
def test_a_childs_name_is_its_parents_with_the_part(parts: tuple[str, ...], expected: str) -> None:
    assert names.child(*parts) == expected
    assert len(expected) <= 63
    assert DNS_1035.fullmatch(expected)


def test_what_had_to_be_changed_is_never_the_name_of_another() -> None:
    parents = ["my.data", "my-data", "1st", "x-1st", "a" * 60, "a" * 61, "a" * 60 + "-b", "A"]
    children = [names.child(parent, "server") for parent in parents]
    assert len(set(children)) == len(parents)
    assert len({names.child("b" * 63, "x" + "y" * n) for n in range(10)}) == 10


@pytest.mark.parametrize("model", ["m", "classifier", "c" * 63, "1model", "dotted.name", "with-dash-" * 6])
def test_a_jobs_name_fits_kuberay_and_is_the_same_for_the_same_work(model: str) -> None:
    found = names.job(model, "0123456789abcdef")
    assert len(found) <= 47
    assert DNS_1035.fullmatch(found)
    assert re.search(r"-[0-9a-f]{8}$", found)
    assert found == names.job(model, "0123456789abcdef")
    assert found != names.job(model, "0123456789abcdee")
