"""Work in threads: results in order, few items in flight, BLAS limited to one thread."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from dp3d_core.threads import in_threads, one_blas_thread


def test_results_come_in_the_order_of_the_items() -> None:
    second = threading.Event()

    def work(number: int) -> int:
        if number == 0:
            assert second.wait(10)
        if number == 1:
            second.set()
        return number * number

    assert list(in_threads(work, range(6), workers=2)) == [0, 1, 4, 9, 16, 25]


def test_closing_the_generator_cancels_the_rest() -> None:
    started: list[int] = []
    results = in_threads(started.append, range(100), workers=2)
    next(iter(results))
    results.close()
    assert len(started) <= 4


def test_a_failure_reaches_the_caller() -> None:
    def work(number: int) -> int:
        return 1 // number

    with pytest.raises(ZeroDivisionError):
        list(in_threads(work, [1, 0, 1], workers=2))


def test_linear_algebra_is_limited_to_one_thread() -> None:
    import numpy as np
    from threadpoolctl import threadpool_info

    def threads() -> list[int]:
        np.dot(np.ones((2, 2)), np.ones((2, 2)))
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    before = threads()
    assert before
    assert set(one_blas_thread(threads)()) == {1}
    assert threads() == before


def test_the_last_of_two_users_lifts_the_limit() -> None:
    from threadpoolctl import threadpool_info

    def blas() -> list[int]:
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    before = blas()
    first_in, second_in, first_out = (threading.Event() for _ in range(3))

    @one_blas_thread
    def first() -> None:
        first_in.set()
        assert second_in.wait(10)

    @one_blas_thread
    def second() -> list[int]:
        second_in.set()
        assert first_out.wait(10)
        return blas()

    with ThreadPoolExecutor(2) as pool:
        first_call = pool.submit(first)
        assert first_in.wait(10)
        second_call = pool.submit(second)
        first_call.result(10)
        first_out.set()
        assert set(second_call.result(10)) == {1}
    assert blas() == before
