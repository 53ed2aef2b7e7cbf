"""The cache: newest news, lookups, and what a list did not show."""

from __future__ import annotations

from typing import Any

from superduper_operator.core.cache import Cache

Manifest = dict[str, Any]


def obj(name: str, version: int, *, namespace: str = "n", uid: str | None = None, **more: Any) -> Manifest:
    meta = {"name": name, "namespace": namespace, "uid": uid or f"{namespace}/{name}", "resourceVersion": str(version)}
    return {"metadata": {**meta, "labels": more.pop("labels", {})}, **more}


def names(found: Any) -> list[str]:
    return [one["metadata"]["name"] for one in found]


def test_older_news_never_replaces_newer() -> None:
    cache = Cache()
    cache.put("Pod", obj("p", 10, status={"phase": "Running"}))
    cache.put("Pod", obj("p", 9, status={"phase": "Pending"}))
    found = cache.get("Pod", "n", "p")
    assert found is not None
    assert found["status"] == {"phase": "Running"}


def test_an_object_of_the_same_name_that_came_later_is_another_whatever_its_version() -> None:
    cache = Cache()
    cache.put("Pod", obj("p", 10, uid="old"))
    cache.put("Pod", obj("p", 11, uid="new"))
    cache.remove("Pod", obj("p", 12, uid="old"))
    assert cache.get("Pod", "n", "p") is not None


def test_a_late_answer_does_not_bring_a_deleted_object_back() -> None:
    cache = Cache()
    cache.put("Pod", obj("p", 10))
    cache.remove("Pod", obj("p", 12))
    cache.put("Pod", obj("p", 11))
    assert cache.get("Pod", "n", "p") is None


def test_what_a_new_list_does_not_show_was_deleted_unseen() -> None:
    told: list[tuple[str | None, str | None]] = []

    def changed(_: str, old: Manifest | None, new: Manifest | None) -> None:
        told.append((old and old["metadata"]["name"], new and new["metadata"]["name"]))

    cache = Cache(changed)
    cache.replace("Pod", None, [obj("a", 1), obj("b", 2)])
    told.clear()
    cache.replace("Pod", None, [obj("b", 2), obj("c", 3)])
    assert told == [("a", None), (None, "c")]


def test_a_list_of_one_namespace_says_nothing_about_others() -> None:
    cache = Cache()
    cache.replace("Pod", "one", [obj("a", 1, namespace="one")])
    cache.replace("Pod", "two", [obj("a", 2, namespace="two")])
    cache.replace("Pod", "two", [])
    assert names(cache.list("Pod")) == ["a"]


def test_lookups_by_label_and_by_datalayer_follow_every_change() -> None:
    cache = Cache()
    for n in range(3):
        cache.put("Pod", obj(f"p{n}", n + 1, labels={"superduper.io/datalayer": "d", "part": str(n)}))
    cache.put("Table", obj("t", 9, spec={"datalayerRef": {"name": "d"}}))
    assert names(cache.list("Pod", "n", {"superduper.io/datalayer": "d"})) == ["p0", "p1", "p2"]
    assert names(cache.list("Pod", "n", {"superduper.io/datalayer": "d", "part": "1"})) == ["p1"]
    assert names(cache.list("Pod", "n", {"part": "2"})) == ["p2"]
    assert names(cache.list("Pod", "other", {"superduper.io/datalayer": "d"})) == []
    cache.put("Pod", obj("p0", 20, labels={"superduper.io/datalayer": "e"}))
    cache.remove("Pod", obj("p1", 21))
    assert names(cache.list("Pod", "n", {"superduper.io/datalayer": "d"})) == ["p2"]
    assert names(cache.referring("Table", "n", "d")) == ["t"]
    cache.put("Table", obj("t", 22, spec={"datalayerRef": {"name": "e"}}))
    assert names(cache.referring("Table", "n", "d")) == []


def test_a_kind_that_goes_takes_its_objects_with_it() -> None:
    cache = Cache()
    cache.replace("RayJob", None, [obj("j", 1)])
    assert cache.synced("RayJob", None)
    cache.lose("RayJob", None)
    assert cache.absent("RayJob")
    assert not cache.synced("RayJob", None)
    assert cache.get("RayJob", "n", "j") is None


def test_only_our_own_managed_fields_are_kept() -> None:
    cache = Cache()
    ours = {"manager": "superduper-operator", "operation": "Apply", "fieldsV1": {}}
    other = {"manager": "kubelet", "operation": "Update", "fieldsV1": {}}
    pod = obj("p", 1)
    pod["metadata"]["managedFields"] = [other, ours]
    cache.put("Pod", pod)
    found = cache.get("Pod", "n", "p")
    assert found is not None
    assert found["metadata"]["managedFields"] == [ours]


def test_an_answer_to_our_own_write_is_news_only_where_it_shows_what_somebody_else_did() -> None:
    told: list[str] = []
    cache = Cache(lambda _kind, _old, new: told.append((new or {})["metadata"]["resourceVersion"]))
    cache.put("Deployment", obj("d", 1, status={"ready": 0}), own=True)
    cache.put("Deployment", obj("d", 2, status={"ready": 0}), own=True)
    assert told == []
    # Its controller wrote version 3; the watch's event of it comes after our version 4, and is dropped as old.
    cache.put("Deployment", obj("d", 4, status={"ready": 1}), own=True)
    cache.put("Deployment", obj("d", 3, status={"ready": 1}))
    assert told == ["4"]
