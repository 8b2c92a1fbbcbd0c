"""One process per symbol for the in-process backfill: the lake takes concurrent writers, Python's lock does not.

Not here: what is run (``runs.py``), how it looks (``cli/progress.py``).
"""

import multiprocessing
import queue
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import dagster as dg

from crpbot_dagster.assets import ROUTE
from crpbot_dagster.runs import Step
from crpbot_dagster.tables.schema import MARKET_WIDE

POOLS = sorted({op.pool for stage in ROUTE.values() for a in stage for op in [a.op] if op.pool})

CRASHED = "the worker process ended without saying why (out of memory?)"


@dataclass(frozen=True)
class News:
    """What a worker did: a step of a symbol, and why it failed, if it did; an end without a step is the worker's."""

    symbol: str
    now: str = ""
    failure: str | None = None
    is_beside: bool = False  # the symbol goes on in spite of the failure
    is_over: bool = False


def run_plans(plans: dict[str, list[Step]], at_once: int) -> Iterator[News]:
    """Run each symbol's steps in order, ``at_once`` symbols side by side; yield the news after each step.

    In three rounds: the whole market, whose tables the symbols read; each symbol's own steps; what reads other symbols.
    A symbol that failed in one takes no part in the next.
    """
    # Workers that meet an empty database at once would all try to lay its tables and its pools.
    with dg.DagsterInstance.get() as instance:
        storage = instance.event_log_storage
        for pool in set(POOLS) - storage.get_concurrency_keys():
            storage.initialize_concurrency_limit_to_default(pool)
    context = multiprocessing.get_context("spawn")
    news: Any = context.Queue()
    failed: set[str] = set()
    for steps_of in rounds(plans):
        waiting = [symbol for symbol in steps_of if symbol not in failed]
        working: dict[str, Any] = {}
        while waiting or working:
            while waiting and len(working) < at_once:
                symbol = waiting.pop(0)
                working[symbol] = context.Process(target=_work, args=(steps_of[symbol], news), daemon=True)
                working[symbol].start()
            try:
                told = news.get(timeout=1)
            except queue.Empty:
                for symbol, process in list(working.items()):
                    if not process.is_alive() and process.exitcode != 0:
                        del working[symbol]
                        failed.add(symbol)
                        yield News(symbol, failure=f"{CRASHED}, exit code {process.exitcode}")
                continue
            if told.is_over:
                working.pop(told.symbol).join()
                continue
            if told.failure is not None and not told.is_beside:
                failed.add(told.symbol)
            yield told


def rounds(plans: dict[str, list[Step]]) -> Iterator[dict[str, list[Step]]]:
    """Yield the whole market's steps, then each symbol's own, then those that wait for all symbols."""
    market = {symbol: steps for symbol, steps in plans.items() if symbol == MARKET_WIDE}
    symbols = {symbol: steps for symbol, steps in plans.items() if symbol != MARKET_WIDE}
    yield market
    for is_last in (False, True):
        of_round = {symbol: [s for s in steps if s.waits_for_all == is_last] for symbol, steps in symbols.items()}
        yield {symbol: steps for symbol, steps in of_round.items() if steps}


def _work(steps: list[Step], news: Any) -> None:
    from crpbot_dagster.runs import run_steps

    symbol = steps[0].symbol

    def done(step: Step, failure: str | None) -> None:
        now = f"{step.day} {'every source' if step.is_beside else step.tables[-1]}"
        news.put(News(symbol, now, failure, step.is_beside))

    with dg.DagsterInstance.get() as instance:
        # Keeps its Postgres connections; the default opens one per event, which costs a third of a run.
        instance.optimize_for_webserver(statement_timeout=60_000, pool_recycle=3_600, max_overflow=4)
        run_steps(steps, done, instance)
    news.put(News(symbol, is_over=True))
