"""Which events are posted."""

from __future__ import annotations

from datetime import UTC, datetime

from superduper_operator.core.events import Limits, event


def test_the_same_event_is_posted_once_in_ten_minutes() -> None:
    limits = Limits()
    assert [limits.passes("u", "Crashing", "it ends", now) for now in (0, 1, 599, 601)] == [True, False, False, True]


def test_one_noisy_object_is_bounded_and_others_are_not() -> None:
    limits = Limits()
    passed = sum(limits.passes("noisy", "Applying", f"{n}", now=n / 100) for n in range(1000))
    assert passed == 25
    assert limits.passes("quiet", "Applying", "x", now=10)
    assert limits.passes("noisy", "Applying", "later", now=100)


def test_an_event_names_its_object_and_is_cut_to_what_kubernetes_takes() -> None:
    obj = {"apiVersion": "v1", "kind": "Model", "metadata": {"name": "m" * 253, "namespace": "n", "uid": "u"}}
    found = event(obj, "Warning", "CodeFailed", "x" * 5000, "pod-1", datetime(2026, 1, 2, tzinfo=UTC))
    assert found["involvedObject"]["uid"] == "u"
    assert len(found["message"]) == 1024
    assert len(found["metadata"]["name"]) <= 253
    assert found["lastTimestamp"] == "2026-01-02T00:00:00Z"
