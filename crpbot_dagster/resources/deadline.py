"""A total timeout around a vendor's client that has none of its own, or retries for an hour.

Not here: what an answer means (``politeness.py``), the clients.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def within(seconds: float, work: Callable[[], T]) -> T:
    """Return what ``work`` returns, or raise what it raises, within ``seconds``.

    It runs in a thread of its own: a client that runs an event loop refuses to do so inside another. A daemon: past
    the timeout nobody waits for it any more, not even the interpreter's end.

    Raises
    ------
    TimeoutError
        It is not done in time.
    """
    outcome: Future[T] = Future()
    threading.Thread(target=_settle, args=(outcome, work), daemon=True).start()
    return outcome.result(timeout=seconds)


def _settle(outcome: Future[T], work: Callable[[], T]) -> None:
    try:
        outcome.set_result(work())
    except BaseException as error:  # noqa: BLE001 - handed on whole: the caller sees it from result()
        outcome.set_exception(error)
