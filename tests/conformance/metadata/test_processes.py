"""Many at once: processes that apply, that connect first, that fork; threads; removals against additions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from superduper.backends.base.metadata import ComponentKey, MetaDataStore
from superduper.errors import InUse, NotFound
from tests.conformance.metadata.conftest import SHARED, System

# It waits for a line on its input, so that all begin at one moment.
PROCESS = """
import json, sys
from importlib import import_module
module, name, uri, mine, same = sys.argv[1:]
kind = getattr(import_module(f"superduper.backends.{module}.metadata"), name)
print("ready", flush=True)
sys.stdin.readline()
store = kind(uri)
seen = []
for n in range(30):
    record, new = store.add_component("model", f"m{n}", digest="d" if same == "same" else mine, spec={"by": mine})
    seen.append([record.identifier, record.version, new])
store.close()
print(json.dumps(seen))
"""


def together(system: System, uri: str, count: int, *, same: bool) -> list[list[tuple[str, int, bool]]]:
    """What each of so many processes was answered when all added the same 30 components at once."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, system.module, system.name, uri, f"p{n}", "same" if same else "own"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for n in range(count)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", process.communicate()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    answers = []
    for process in processes:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        answers.append([tuple(each) for each in json.loads(out)])
    return answers  # type: ignore[return-value]


@pytest.mark.parametrize("system", SHARED, indirect=True)
def test_fault_7_two_processes_applying_30_components_never_share_a_version(system: System, uri: str) -> None:
    first, second = together(system, uri, 2, same=False)
    given = sorted((identifier, version) for identifier, version, _ in first + second)
    assert given == sorted((f"m{n}", version) for n in range(30) for version in (0, 1))
    store = system.open(uri)
    for n in range(30):
        assert store.versions("model", f"m{n}") == [0, 1]
    for identifier, version, new in first:
        assert new
        assert store.component("model", identifier, version).spec == {"by": "p0"}
    store.close()


@pytest.mark.parametrize("system", SHARED, indirect=True)
def test_four_processes_applying_the_same_make_one_version_and_connect_first_at_once(system: System, uri: str) -> None:
    answers = together(system, uri, 4, same=True)
    for n in range(30):
        mine = [answer[n] for answer in answers]
        assert {(identifier, version) for identifier, version, _ in mine} == {(f"m{n}", 0)}
        assert sum(new for *_, new in mine) == 1
    store = system.open(uri)
    assert [store.versions("model", f"m{n}") for n in range(30)] == [[0]] * 30
    store.close()


def test_threads_share_one_store(store: MetaDataStore) -> None:
    def add(n: int) -> int:
        record, _ = store.add_component("model", "m", digest=f"d{n}", spec={"n": n}, artifacts=[f"{n:040d}"])
        assert store.component("model", "m", record.version).spec == {"n": n}
        return record.version

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(add, range(40))) == list(range(40))
    assert sorted(store.artifacts()) == [f"{n:040d}" for n in range(40)]


def in_child(action: Callable[[], None]) -> None:
    """Run it in a forked child; its failure is the test's."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            action()
        except BaseException:
            os.write(writer, traceback.format_exc().encode()[-4000:])
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader, "rb") as pipe:
        problem = pipe.read().decode()
    assert not problem, problem


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("system", SHARED, indirect=True)
def test_a_store_goes_on_in_a_forked_child_and_in_its_parent(system: System, store: MetaDataStore) -> None:
    store.add_component("model", "m", digest="1", spec={})

    def child() -> None:
        assert store.versions("model", "m") == [0]
        assert store.add_component("model", "m", digest="2", spec={})[0].version == 1
        store.close()

    in_child(child)
    assert store.versions("model", "m") == [0, 1]
    assert store.add_component("model", "m", digest="3", spec={})[0].version == 2


def test_a_parent_that_comes_while_its_child_goes_leaves_none_hanging(store: MetaDataStore) -> None:
    for n in range(20):
        child, _ = store.add_component("datatype", f"d{n}", digest="d", spec={})

        def add(child: ComponentKey = child.key) -> str:
            try:
                store.add_component("table", child.identifier, digest="d", spec={}, children=[child])
            except NotFound:
                return "refused"
            return "done"

        def remove(child: ComponentKey = child.key) -> str:
            try:
                store.remove_component("datatype", child.identifier)
            except InUse:
                return "refused"
            return "done"

        with ThreadPoolExecutor(2) as pool:
            outcome = {future.result() for future in [pool.submit(add), pool.submit(remove)]}
        there = bool(store.versions("datatype", f"d{n}"))
        assert "refused" in outcome
        assert there or not store.versions("table", f"d{n}"), "a table without its datatype"
