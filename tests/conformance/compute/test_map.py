"""Batches in, outcomes out: the same wherever models run."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from superduper.backends.base.compute import Batch, ComputeBackend, Outcome
from superduper.errors import CodeError
from superduper.jobs.predictor import Predictor


class Point:
    """The user's own class, of a module that no worker can import."""

    def __init__(self, x: int) -> None:
        self.x = x


def batches(number: int, rows: int = 5) -> list[Batch]:
    keys = [range(start, start + rows) for start in range(0, number, rows)]
    return [Batch(list(part), [list(part)]) for part in keys]


def outcomes(done: Any) -> dict[Any, Outcome]:
    return {outcome.key: outcome for each in done for outcome in each.outcomes}


def half(x: int) -> float:
    if x == 7:
        raise ValueError(f"seven, {x}")
    return x / 2


def test_every_row_has_its_outcome_and_a_failing_row_its_error(compute: ComputeBackend) -> None:
    found = outcomes(compute.map(Predictor(half, batched=False), batches(20)))
    assert len(found) == 20
    assert {key: one.value for key, one in found.items() if one.error is None} == {
        x: x / 2 for x in range(20) if x != 7
    }
    assert (found[7].error or "").startswith("ValueError: seven, 7 (line ")


def test_a_batched_model_is_given_lists_and_a_failing_row_is_found(compute: ComputeBackend) -> None:
    def halves(xs: Sequence[int]) -> list[float]:
        return [half(x) for x in xs]

    found = outcomes(compute.map(Predictor(halves, batched=True), batches(20)))
    assert [key for key, one in found.items() if one.error is not None] == [7]
    assert found[8].value == 4


def test_arguments_by_name_and_values_of_ones_own_classes_arrive_and_come_back(compute: ComputeBackend) -> None:
    def shifted(point: Point, by: int) -> Point:
        return Point(point.x + by)

    batch = Batch(["a", "b"], [[Point(1), Point(2)]], {"by": [10, 20]})
    found = outcomes(compute.map(Predictor(shifted, batched=False), [batch]))
    assert {key: (type(one.value) is Point, one.value.x) for key, one in found.items()} == {
        "a": (True, 11),
        "b": (True, 22),
    }


def test_no_more_than_four_batches_are_held_and_results_come_before_all_is_read(compute: ComputeBackend) -> None:
    pulled = returned = most = 0

    def given() -> Iterator[Batch]:
        nonlocal pulled, most
        for batch in batches(200):
            pulled += 1
            most = max(most, pulled - returned)
            yield batch

    for _ in compute.map(Predictor(half, batched=False), given()):
        assert pulled - returned <= 4
        returned += 1
    assert returned == 40
    assert most <= 4


def test_no_batches_are_no_work(compute: ComputeBackend) -> None:
    assert list(compute.map(Predictor(half, batched=False), [])) == []


def test_an_error_of_whoever_gives_the_batches_is_theirs(compute: ComputeBackend) -> None:
    def given() -> Iterator[Batch]:
        yield from batches(10)
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match=r"^the disk is gone$"):
        list(compute.map(Predictor(half, batched=False), given()))
    assert len(outcomes(compute.map(Predictor(half, batched=False), batches(5)))) == 5


def test_stopping_early_leaves_it_usable(compute: ComputeBackend) -> None:
    running = compute.map(Predictor(half, batched=False), batches(100))
    next(iter(running))
    running.close()  # type: ignore[attr-defined]
    assert len(outcomes(compute.map(Predictor(half, batched=False), batches(10)))) == 10


def test_a_batch_of_a_quarter_of_the_budget_arrives(compute: ComputeBackend) -> None:
    payload = b"\x07" * (64 << 20)
    batch = Batch([1], [[payload]])
    (done,) = compute.map(Predictor(lambda data: (len(data), data[-1]), batched=False), [batch])
    assert done.outcomes[0].value == (64 << 20, 7)


def test_threads_share_one_compute(compute: ComputeBackend) -> None:
    found: list[int] = []

    def work(offset: int) -> None:
        done = compute.map(Predictor(lambda x: x + offset, batched=False), batches(20))
        found.append(sum(one.value for one in outcomes(done).values()))

    threads = [threading.Thread(target=work, args=(offset,)) for offset in (0, 100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [190, 2190]


def test_a_model_is_sent_and_loaded_once_per_worker(own: ComputeBackend) -> None:
    ballast = b"x" * 1_000_000

    class Loaded:
        def __init__(self) -> None:
            self.ballast = ballast

        def __setstate__(self, state: dict[str, Any]) -> None:
            import os

            vars(self).update(state)
            self.number = os.urandom(8)

        def __call__(self, x: int) -> tuple[int, bytes]:
            import os

            return os.getpid(), self.number

    found = outcomes(own.map(Predictor(Loaded(), batched=False), batches(200)))
    loads = {one.value for one in found.values()}
    assert len(loads) == len({pid for pid, _ in loads})


def test_an_output_that_cannot_travel_is_its_rows_error(own: ComputeBackend) -> None:
    def odd(x: int) -> Any:
        return (n for n in range(x)) if x == 3 else x

    found = outcomes(own.map(Predictor(odd, batched=False), batches(5)))
    assert [key for key, one in found.items() if one.error is not None] == [3]
    assert re.search("the output cannot be sent back from a (dask|ray) worker", found[3].error or "")


def test_a_model_that_cannot_be_pickled_is_refused(own: ComputeBackend) -> None:
    lock = threading.Lock()

    def locked(x: int) -> int:
        with lock:
            return x

    with pytest.raises(CodeError, match="cannot be pickled"):
        list(own.map(Predictor(locked, batched=False), batches(5)))


def test_a_model_that_does_not_load_on_the_worker_says_so(own: ComputeBackend) -> None:
    class Picky:
        def __reduce__(self) -> Any:
            return __import__, ("no_such_package_there",)

        def __call__(self, x: int) -> int:
            return x

    with pytest.raises(CodeError, match=r"no_such_package_there.*install what it imports there"):
        list(own.map(Predictor(Picky(), batched=False), batches(5)))
