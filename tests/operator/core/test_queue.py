"""The work queue, in virtual time: no test waits for a clock."""

from __future__ import annotations

import asyncio
import random
import time

import pytest

from superduper_operator.core.queue import Schedule, WorkQueue
from superduper_operator.core.reconciler import Key


def key(name: str) -> Key:
    return Key("Table", "default", name)


A, B, C = key("a"), key("b"), key("c")


@pytest.fixture
def schedule() -> Schedule:
    return Schedule(spread=lambda: 0.0)


def drain(schedule: Schedule, now: float) -> list[str]:
    found = []
    while (taken := schedule.take(now)) is not None:
        found.append(taken.name)
        schedule.done(taken, now)
    return found


def test_a_key_that_is_added_often_runs_once(schedule: Schedule) -> None:
    for _ in range(5):
        schedule.add(A, now=0)
        schedule.add(A, now=0, after=3)
    assert drain(schedule, 0) == ["a"]
    assert drain(schedule, 10) == []


def test_keys_run_in_the_order_in_which_they_were_due(schedule: Schedule) -> None:
    schedule.add(A, now=0)
    schedule.add(B, now=0)
    assert drain(schedule, 0) == ["a", "b"]
    schedule.add(B, now=4, after=2)
    schedule.add(C, now=4, after=1)
    assert drain(schedule, 7) == ["c", "b"]


def test_a_key_that_is_added_again_and_again_does_not_overtake_others(schedule: Schedule) -> None:
    order = []
    schedule.add(A, now=0)
    schedule.add(B, now=0)
    for now in range(4):
        taken = schedule.take(now)
        assert taken is not None
        order.append(taken.name)
        schedule.add(A, now)
        schedule.add(B, now)
        schedule.done(taken, now)
    assert order == ["a", "b", "a", "b"]


def test_one_key_never_runs_twice_at_once_and_runs_again_when_it_was_added_meanwhile(schedule: Schedule) -> None:
    schedule.add(A, now=0)
    assert schedule.take(0) == A
    schedule.add(A, now=1)
    schedule.add(A, now=1)
    assert schedule.take(1) is None
    schedule.done(A, now=2)
    assert drain(schedule, 2) == ["a"]


def test_the_earliest_time_counts(schedule: Schedule) -> None:
    schedule.add(A, now=0, after=10)
    schedule.add(A, now=0, after=5)
    schedule.add(A, now=0, after=20)
    assert schedule.wait(0) == 5
    assert drain(schedule, 4.9) == []
    assert drain(schedule, 5) == ["a"]
    assert schedule.wait(5) is None


def test_a_requeue_does_not_delay_what_was_added_meanwhile(schedule: Schedule) -> None:
    schedule.add(A, now=0)
    schedule.take(0)
    schedule.add(A, now=1, after=2)
    schedule.done(A, now=2, after=10)
    assert schedule.wait(2) == 1


def test_failures_back_off_from_one_second_to_five_minutes_and_a_success_forgets_them(schedule: Schedule) -> None:
    waits = []
    now = 0.0
    schedule.add(A, now)
    for _ in range(11):
        assert schedule.take(now) == A
        waits.append(schedule.failed(A, now))
        now += waits[-1]
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    assert schedule.take(now) == A
    schedule.done(A, now)
    assert schedule.failures(A) == 0


def test_a_server_that_asks_to_wait_is_given_the_time(schedule: Schedule) -> None:
    schedule.add(A, now=0)
    schedule.take(0)
    assert schedule.failed(A, now=0, at_least=7) == 7


def test_waits_are_spread_but_never_beyond_five_minutes() -> None:
    schedule = Schedule()
    waits = set()
    for n in range(50):
        one = key(f"n{n}")
        schedule.add(one, now=0)
        schedule.take(0)
        waits.add(schedule.failed(one, now=0))
    assert len(waits) > 40
    assert 0.8 <= min(waits) <= max(waits) <= 1.2


def test_a_change_of_a_failing_object_is_tried_at_once(schedule: Schedule) -> None:
    schedule.add(A, now=0)
    schedule.take(0)
    schedule.failed(A, now=0)
    schedule.add(A, now=0.1)
    assert drain(schedule, 0.1) == ["a"]


def test_depth_and_age_are_of_what_is_due(schedule: Schedule) -> None:
    schedule.add(A, now=0)
    schedule.add(B, now=0, after=4)
    assert (schedule.depth(1), schedule.oldest(1)) == (1, 1)
    assert (schedule.depth(5), schedule.oldest(5)) == (2, 5)
    schedule.take(5)
    assert (schedule.depth(5), schedule.oldest(5)) == (1, 1)
    assert schedule.last_wait == 5


def test_no_key_is_lost_or_doubled_whatever_the_order(schedule: Schedule) -> None:
    dice = random.Random(7)
    keys = [key(f"k{n}") for n in range(20)]
    now, running, asked, ran = 0.0, set[Key](), dict.fromkeys(keys, 0.0), dict.fromkeys(keys, 0.0)
    for _ in range(20_000):
        now += dice.random() / 10
        one = dice.choice(keys)
        match dice.randrange(4):
            case 0:
                schedule.add(one, now, dice.choice([0, 0, 1, 3]))
                asked[one] = now
            case 1 if running:
                ended = dice.choice(sorted(running))
                running.discard(ended)
                schedule.done(ended, now) if dice.random() < 0.7 else schedule.failed(ended, now)
            case _ if len(running) < 4:
                taken = schedule.take(now)
                if taken is not None:
                    assert taken not in running
                    running.add(taken)
                    ran[taken] = now
    now += 1000
    for one in running:
        schedule.done(one, now)
    rest = set(drain(schedule, now))
    for one in keys:
        assert ran[one] >= asked[one] or one.name in rest, one


def test_the_heap_stays_small_when_one_key_is_moved_forward_often(schedule: Schedule) -> None:
    for n in range(10_000):
        schedule.add(A, now=0, after=20_000 - n)
    assert len(schedule._heap) < 200
    assert schedule.wait(0) == 10_001


def test_the_consumer_wakes_for_a_key_that_comes_while_it_waits_for_a_later_one() -> None:
    async def run() -> float:
        queue = WorkQueue()
        queue.add(A, after=30)
        began = time.monotonic()
        asyncio.get_running_loop().call_later(0.05, queue.add, B)
        async with asyncio.timeout(5):
            assert await queue.get() == B
        return time.monotonic() - began

    assert asyncio.run(run()) < 1


def test_ten_thousand_keys_are_queued_and_taken_within_a_second(schedule: Schedule) -> None:
    began = time.perf_counter()
    for n in range(10_000):
        schedule.add(key(f"k{n}"), now=0, after=n % 7)
    assert len(drain(schedule, 10)) == 10_000
    assert time.perf_counter() - began < 1
