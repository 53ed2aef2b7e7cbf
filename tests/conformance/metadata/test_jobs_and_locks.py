"""Jobs and locks, alike on every metadata store."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from superduper.backends.base.metadata import JobRecord, MetaDataStore
from tests.conformance.metadata.conftest import SHARED, System

START = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
JOB = JobRecord("j0", "predict", "m", 3, "Running", START)


def test_a_job_comes_back_as_it_went_in(store: MetaDataStore) -> None:
    store.put_job(JOB)
    assert store.jobs() == [JOB]
    ended = replace(JOB, phase="Failed", finished=START + timedelta(hours=1), rows=10, failed=2, message="ünï 🦆\nline")
    store.put_job(ended)
    assert store.jobs() == [ended]


def test_the_newest_jobs_come_first_and_by_model(store: MetaDataStore) -> None:
    for n in range(7):
        model = "a" if n % 2 else "b"
        store.put_job(replace(JOB, id=f"j{n}", model=model, started=START + timedelta(microseconds=n)))
    assert [job.id for job in store.jobs()] == ["j6", "j5", "j4", "j3", "j2", "j1", "j0"]
    assert [job.id for job in store.jobs("a")] == ["j5", "j3", "j1"]
    assert [job.id for job in store.jobs("b", limit=2)] == ["j6", "j4"]
    assert store.jobs("c") == []


def test_moments_of_other_zones_are_kept_in_utc(store: MetaDataStore) -> None:
    east = timezone(timedelta(hours=9))
    store.put_job(replace(JOB, id="later", started=START + timedelta(minutes=1)))
    store.put_job(replace(JOB, id="earlier", started=START.astimezone(east)))
    assert [(job.id, job.started) for job in store.jobs()][1] == ("earlier", START)


def test_an_error_message_of_any_text_is_kept(store: MetaDataStore) -> None:
    store.put_job(replace(JOB, message="bad \0 byte, half \ud83e of a duck, " + "long " * 50_000))
    (job,) = store.jobs()
    assert job.message.startswith("bad \\0 byte, half \\ud83e of a duck, long")
    assert job.message.endswith("long ")


def test_a_lock_has_one_owner_until_it_is_given_back(store: MetaDataStore) -> None:
    assert store.acquire("gc", "one", 60)
    assert not store.acquire("gc", "two", 60)
    assert store.acquire("other", "two", 60)
    assert store.acquire("gc", "one", 60), "its owner may prolong it"
    store.release("gc", "two")
    assert not store.acquire("gc", "two", 60), "only its owner gives it back"
    store.release("gc", "one")
    store.release("gc", "one")
    assert store.acquire("gc", "two", 60)


def test_a_lock_of_an_owner_that_died_runs_out(store: MetaDataStore) -> None:
    begin = time.monotonic()
    assert store.acquire("gc", "dead", 0.3)
    assert not store.acquire("gc", "heir", 60)
    while not store.acquire("gc", "heir", 60):
        assert time.monotonic() < begin + 10, "the lock never ran out"
        threading.Event().wait(0.01)
    assert time.monotonic() >= begin + 0.25
    assert not store.acquire("gc", "dead", 60)


def test_of_many_threads_one_gets_the_lock(store: MetaDataStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda n: store.acquire("gc", f"owner-{n}", 60), range(24)))
    assert won.count(True) == 1


@pytest.mark.parametrize("system", SHARED, indirect=True)
def test_two_connections_share_jobs_statuses_and_locks(system: System, uri: str, store: MetaDataStore) -> None:
    other = system.open(uri)
    store.put_job(JOB)
    store.set_status("model", "m", {"ready": True})
    assert store.acquire("gc", "one", 60)
    assert other.jobs() == [JOB]
    assert other.status("model", "m") == {"ready": True}
    assert not other.acquire("gc", "two", 60)
    store.release("gc", "one")
    assert other.acquire("gc", "two", 60)
    other.close()


def test_the_holder_of_a_lock_is_known(store: MetaDataStore) -> None:
    assert store.holder("predict") is None
    assert store.acquire("predict", "one", 60)
    assert store.holder("predict") == "one"
    store.release("predict", "one")
    assert store.holder("predict") is None
