"""Thread pools with results in order, and linear algebra limited to one thread."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import wraps
from typing import Any, ParamSpec, TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
_Params = ParamSpec("_Params")

_MOST_WORKERS = 4
"""Largest number of threads.  Ray casting, a third of a view's time, holds the interpreter lock."""


class _OneBlasThread:
    """Limits BLAS to one thread while it has users: the first sets the limit, the last lifts it."""

    def __init__(self) -> None:
        self._lock, self._users = threading.Lock(), 0
        self._limit: Any = None

    def __enter__(self) -> None:
        from threadpoolctl import threadpool_limits

        with self._lock:
            if not self._users:
                self._limit = threadpool_limits(1, user_api="blas")
            self._users += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._users -= 1
            if not self._users:
                self._limit.restore_original_limits()


_ONE_BLAS_THREAD = _OneBlasThread()


def cores() -> int:
    """Cores that this process may use, at most ``_MOST_WORKERS``."""
    usable = getattr(os, "sched_getaffinity", None)
    return min(len(usable(0)) if usable else os.cpu_count() or 1, _MOST_WORKERS)


def in_threads(
    work: Callable[[_Item], _Result], items: Iterable[_Item], workers: int | None = None
) -> Generator[_Result, None, None]:
    """Results of ``work`` for each item, in order; at most ``workers + 1`` items are in flight.

    Closing the generator cancels queued items and waits for running ones.

    Args:
        work: called in threads.
        items: read lazily.
        workers: threads; None: :func:`cores`.

    """
    count = workers or cores()
    futures: deque[Future[_Result]] = deque()
    with ThreadPoolExecutor(count) as pool:
        try:
            for item in items:
                futures.append(pool.submit(work, item))
                if len(futures) > count:
                    yield futures.popleft().result()
            while futures:
                yield futures.popleft().result()
        finally:
            for future in futures:
                future.cancel()


def one_blas_thread(work: Callable[_Params, _Result]) -> Callable[_Params, _Result]:
    """Decorator that runs ``work`` with BLAS in one thread.

    Many small products spend their time in synchronisation otherwise.  Measured on the fit of a
    head: 0.8 times the wall time and 0.67 times the CPU time of unlimited threads.
    """

    @wraps(work)
    def limited(*args: _Params.args, **kwargs: _Params.kwargs) -> _Result:
        with _ONE_BLAS_THREAD:
            return work(*args, **kwargs)

    return limited
