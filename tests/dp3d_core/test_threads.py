"""Work in threads: results in order, nothing begun in vain."""

from __future__ import annotations

import threading

import pytest

from dp3d_core.threads import in_threads, one_blas_thread


def test_results_come_in_order_whoever_is_first() -> None:
    second = threading.Event()

    def work(number: int) -> int:
        if number == 0:
            assert second.wait(10)
        if number == 1:
            second.set()
        return number * number

    assert list(in_threads(work, range(6), workers=2)) == [0, 1, 4, 9, 16, 25]


def test_whoever_stops_leaves_the_rest_alone() -> None:
    begun: list[int] = []
    results = in_threads(begun.append, range(100), workers=2)
    next(iter(results))
    results.close()  # type: ignore[attr-defined]
    assert len(begun) <= 4


def test_a_failure_reaches_the_caller() -> None:
    def work(number: int) -> int:
        return 1 // number

    with pytest.raises(ZeroDivisionError):
        list(in_threads(work, [1, 0, 1], workers=2))


def test_linear_algebra_has_one_thread_meanwhile() -> None:
    import numpy as np
    from threadpoolctl import threadpool_info

    def threads() -> list[int]:
        np.dot(np.ones((2, 2)), np.ones((2, 2)))
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    before = threads()
    assert before
    assert set(one_blas_thread(threads)()) == {1}
    assert threads() == before
