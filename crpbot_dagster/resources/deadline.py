"""A total timeout around a vendor's client that has none of its own, or retries for an hour.

Not here: what an answer means (``politeness.py``), the clients.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

T = TypeVar("T")

WATCH_S = 1.0  # between two looks at a client that works


def within(seconds: float, work: Callable[[], T], watch: Callable[[], None] = lambda: None) -> T:
    """Return what ``work`` returns, unless the total time passes first (``TimeoutError``) or ``watch`` raises.

    A thread of its own, for clients that run an event loop or only know timeouts between bytes; a daemon, so that
    nobody waits for it any more, not even the interpreter's end.
    """
    outcome: Future[T] = Future()
    threading.Thread(target=_settle, args=(outcome, work), daemon=True).start()
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        if wait([outcome], timeout=min(WATCH_S, left)).done:
            return outcome.result()
        watch()
    raise TimeoutError(f"not done within {seconds:g} s")


def _settle(outcome: "Future[T]", work: Callable[[], T]) -> None:
    try:
        outcome.set_result(work())
    except BaseException as error:  # noqa: BLE001 - handed on whole: the caller sees it from result()
        outcome.set_exception(error)
