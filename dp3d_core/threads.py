"""Threads: some pieces of work at a time, results in order; and none where they only wait."""

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
_Given = ParamSpec("_Given")

_MOST_WORKERS = 4
"""Ray casting holds the interpreter's lock for a third of a view: more threads wait for it."""


class _OneBlasThread:
    """A limit of the process for all who need it: the first sets it, the last takes it back."""

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
    """Cores that this process may use, at most as many as are of use here."""
    usable = getattr(os, "sched_getaffinity", None)
    return min(len(usable(0)) if usable else os.cpu_count() or 1, _MOST_WORKERS)


def in_threads(
    work: Callable[[_Item], _Result], items: Iterable[_Item], workers: int | None = None
) -> Generator[_Result, None, None]:
    """Results of ``work`` for each item, in order; at most one more than ``workers`` are begun.

    When the generator is closed, what is not begun is never begun; what is, is waited for.

    Args:
        work: called in threads.
        items: read one by one.
        workers: threads; None: one for each core, but not more than a few.

    """
    count = workers or cores()
    begun: deque[Future[_Result]] = deque()
    with ThreadPoolExecutor(count) as pool:
        try:
            for item in items:
                begun.append(pool.submit(work, item))
                if len(begun) > count:
                    yield begun.popleft().result()
            while begun:
                yield begun.popleft().result()
        finally:
            for future in begun:
                future.cancel()


def one_blas_thread(work: Callable[_Given, _Result]) -> Callable[_Given, _Result]:
    """``work`` with linear algebra in one thread: many small products wait for each other in more.

    Measured: a head is fitted in four fifths of the time, with two thirds of the processor's.
    """

    @wraps(work)
    def limited(*args: _Given.args, **kwargs: _Given.kwargs) -> _Result:
        with _ONE_BLAS_THREAD:
            return work(*args, **kwargs)

    return limited
