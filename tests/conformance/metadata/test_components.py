"""Components, their versions, relations and artifacts, alike on every metadata store."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from superduper.backends.base.metadata import ComponentKey, MetaDataStore
from superduper.errors import InUse, ManifestError, NotFound

A, B, C = "a" * 40, "b" * 40, "c" * 64


def test_versions_are_numbered_from_zero(store: MetaDataStore) -> None:
    for n in range(3):
        record, new = store.add_component("model", "m", digest=f"d{n}", spec={"n": n})
        assert (record.version, new) == (n, True)
    assert store.versions("model", "m") == [0, 1, 2]
    assert store.component("model", "m").spec == {"n": 2}
    assert store.component("model", "m", 1).spec == {"n": 1}
    assert store.versions("model", "other") == []


def test_the_digest_of_the_newest_version_makes_no_new_one(store: MetaDataStore) -> None:
    first, _ = store.add_component("model", "m", digest="d", spec={"n": 1}, artifacts=[A])
    again, new = store.add_component("model", "m", digest="d", spec={"n": 1}, artifacts=[A])
    assert (again, new) == (first, False)
    store.add_component("model", "m", digest="e", spec={})
    back, new = store.add_component("model", "m", digest="d", spec={"n": 1})
    assert (back.version, new) == (2, True)


def test_a_record_comes_back_as_it_went_in(store: MetaDataStore) -> None:
    spec = {
        "filter": {"x.y": {"$gt": 3.5}, "": None},
        "text": "ünï\0code 🦆",
        "many": [1, -(2**62), True, None, {"deep": [[]]}],
    }
    record, _ = store.add_component("model", "m", digest="d", spec=spec, artifacts=[B, A, B, C])
    read = store.component("model", "m")
    assert read == record
    assert read.spec == spec
    assert read.artifacts == (B, A, B, C)
    assert read.key == ComponentKey("model", "m", 0)
    assert read.created.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - read.created) < timedelta(minutes=5)


def test_a_spec_of_megabytes_is_kept(store: MetaDataStore) -> None:
    spec = {"source": "x = 1\n" * 500_000}
    store.add_component("model", "m", digest="d", spec=spec)
    assert store.component("model", "m").spec == spec


@pytest.mark.parametrize("name", ["a/b:c", "__init__", "Ünï 🦆", "'; drop table x", "x" * 255, "%s", "a.b$c", " "])
def test_any_name_is_a_name(store: MetaDataStore, name: str) -> None:
    child, _ = store.add_component("model", name, digest="d", spec={})
    store.add_component("table", name, digest="d", spec={}, children=[child.key])
    assert store.component("model", name).identifier == name
    assert store.components("model") == [("model", name)]
    assert store.children(ComponentKey("table", name, 0)) == [child.key]
    assert store.parents("model", name) == [ComponentKey("table", name, 0)]


def test_names_differ_by_case_and_by_trailing_space(store: MetaDataStore) -> None:
    for n, name in enumerate(("model", "Model", "MODEL", "é", "e")):
        assert store.add_component("model", name, digest=str(n), spec={})[0].version == 0
    assert len(store.components()) == 5


@pytest.mark.parametrize("name", ["", "x" * 256, "a\0b"])
def test_a_name_that_some_store_cannot_keep_is_refused_by_all(store: MetaDataStore, name: str) -> None:
    with pytest.raises(ManifestError, match="identifier of a model: .* 1 to 255"):
        store.add_component("model", name, digest="d", spec={})
    assert store.components() == []


def test_components_are_listed_once_and_sorted(store: MetaDataStore) -> None:
    for type_id, identifier in [("table", "b"), ("model", "z"), ("model", "a"), ("table", "b")]:
        store.add_component(type_id, identifier, digest=str(len(store.components())), spec={})
    assert store.components() == [("model", "a"), ("model", "z"), ("table", "b")]
    assert store.components("model") == [("model", "a"), ("model", "z")]
    assert store.components("schema") == []


def test_what_is_not_there_names_the_nearest(store: MetaDataStore) -> None:
    store.add_component("model", "digits", digest="d", spec={})
    with pytest.raises(NotFound, match="no model 'digit'; did you mean 'digits'"):
        store.component("model", "digit")
    with pytest.raises(NotFound, match="no table 'digits'; there is a model of that name"):
        store.component("table", "digits")
    with pytest.raises(NotFound, match="no schema 'zzz'; .* lists what there is"):
        store.component("schema", "zzz")
    with pytest.raises(NotFound, match="model 'digits' has no version 7; choose one of: 0"):
        store.component("model", "digits", 7)
    with pytest.raises(NotFound, match="no model 'digit'; did you mean 'digits'"):
        store.remove_component("model", "digit")
    with pytest.raises(NotFound, match="has no version 7"):
        store.remove_component("model", "digits", 7)


def test_parents_and_children_are_known_by_version(store: MetaDataStore) -> None:
    old, _ = store.add_component("datatype", "png", digest="1", spec={})
    new, _ = store.add_component("datatype", "png", digest="2", spec={})
    text, _ = store.add_component("datatype", "text", digest="1", spec={})
    store.add_component("table", "t", digest="1", spec={}, children=[old.key, text.key, text.key])
    store.add_component("table", "t", digest="2", spec={}, children=[new.key])
    assert store.children(ComponentKey("table", "t", 0)) == [old.key, text.key]
    assert store.children(ComponentKey("table", "t", 1)) == [new.key]
    assert store.children(ComponentKey("table", "t", 2)) == []
    assert store.parents("datatype", "png", 0) == [ComponentKey("table", "t", 0)]
    assert store.parents("datatype", "png") == [ComponentKey("table", "t", 0), ComponentKey("table", "t", 1)]
    assert store.parents("table", "t") == []


def test_a_child_that_is_not_there_is_refused_and_nothing_is_kept(store: MetaDataStore) -> None:
    store.add_component("datatype", "png", digest="d", spec={})
    for child, says in [
        (ComponentKey("datatype", "pgn", 0), "no datatype 'pgn'; did you mean 'png'"),
        (ComponentKey("datatype", "png", 3), "datatype 'png' has no version 3"),
    ]:
        with pytest.raises(NotFound, match=says):
            store.add_component("table", "t", digest="d", spec={}, artifacts=[A], children=[child])
    assert store.components("table") == []
    assert list(store.artifacts()) == []


def test_what_others_need_cannot_be_removed(store: MetaDataStore) -> None:
    old, _ = store.add_component("datatype", "png", digest="1", spec={})
    store.add_component("datatype", "png", digest="2", spec={})
    store.add_component("table", "t", digest="1", spec={}, children=[old.key])
    for version in (0, None):
        with pytest.raises(InUse, match=r"datatype 'png' .* needed by table 't' \(version 0\); remove that first"):
            store.remove_component("datatype", "png", version)
    assert store.versions("datatype", "png") == [0, 1]
    store.remove_component("datatype", "png", 1)
    store.remove_component("table", "t")
    store.remove_component("datatype", "png")
    assert store.components() == []


def test_a_removal_takes_its_own_version_only(store: MetaDataStore) -> None:
    store.add_component("model", "m", digest="1", spec={}, artifacts=[A])
    store.add_component("model", "m", digest="2", spec={}, artifacts=[B])
    store.add_component("model", "n", digest="1", spec={}, artifacts=[A])
    store.remove_component("model", "m", 0)
    assert store.versions("model", "m") == [1]
    assert sorted(store.artifacts()) == [A, B]
    store.remove_component("model", "m")
    assert store.components() == [("model", "n")]
    assert list(store.artifacts()) == [A]
    assert store.add_component("model", "m", digest="2", spec={})[0].version == 0


def test_artifacts_of_all_versions_stream_while_others_are_added(store: MetaDataStore) -> None:
    expected = set()
    for n in range(5):
        ids = [f"{n:02d}{i:038d}" for i in range(500)]
        expected.update(ids)
        store.add_component("model", f"m{n}", digest="d", spec={}, artifacts=ids)
    seen = set()
    for number, id in enumerate(store.artifacts()):
        if number == 0:
            store.add_component("zebra", "late", digest="d", spec={})
        seen.add(id)
    assert seen == expected


def test_a_status_is_kept_until_the_last_version_goes(store: MetaDataStore) -> None:
    assert store.status("model", "m") == {}
    store.add_component("model", "m", digest="1", spec={})
    store.add_component("model", "m", digest="2", spec={})
    store.set_status("model", "m", {"conditions": [{"type": "Ready", "status": "False"}]})
    store.set_status("model", "m", {"conditions": [{"type": "Ready", "status": "True"}], "$x.y": "ü"})
    assert store.status("model", "m") == {"conditions": [{"type": "Ready", "status": "True"}], "$x.y": "ü"}
    store.remove_component("model", "m", 0)
    assert store.status("model", "m")
    store.remove_component("model", "m")
    assert store.status("model", "m") == {}


def test_the_state_changes_with_every_component_added_or_removed_and_with_nothing_else(store: MetaDataStore) -> None:
    seen = [store.state()]

    def changed() -> bool:
        seen.append(store.state())
        return seen[-1] not in seen[:-1]

    store.add_component("model", "m", digest="1", spec={})
    assert changed()
    store.add_component("model", "m", digest="1", spec={})
    store.set_status("model", "m", {"ready": True})
    assert not changed()
    store.remove_component("model", "m")
    assert changed()
    store.add_component("model", "m", digest="1", spec={})
    assert changed()
