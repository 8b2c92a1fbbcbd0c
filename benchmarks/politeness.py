"""A storm of 429: ten thousand requests, two of five refused, against a host that counts what each second brings.

Peer: the same storm from a client without manners, a loop that asks again at once. Not here: what is asked for
(``resources/web_apis.py``), the rules (``resources/politeness.py``).
"""

import socketserver
import threading
import time
from bisect import bisect_left
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx

from benchmarks.measure import Line, Size, shown
from crpbot_dagster.resources import politeness
from crpbot_dagster.resources.politeness import Politeness
from crpbot_dagster.resources.web_apis import WebApis

PER_SECOND = 300.0  # of the budget
REFUSED = (True, False, False, True, False)  # 40 %
WORKERS = 24
PAUSE_S = 0.2  # at most, between two attempts: a real host is given a minute
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}"
TOO_MANY = b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


@contextmanager
def counting() -> Iterator[tuple[str, list[float]]]:
    """A host that refuses two of five requests; its address, and when each arrived."""
    arrived: list[float] = []
    lock = threading.Lock()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            head = b""
            while b"\r\n\r\n" not in head:
                if not (piece := self.request.recv(4096)):
                    return
                head += piece
            with lock:
                is_refused = REFUSED[len(arrived) % len(REFUSED)]
                arrived.append(time.monotonic())
            self.request.sendall(TOO_MANY if is_refused else OK)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads, request_queue_size = True, 1_024

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", arrived
        server.shutdown()


def busiest_second(moments: list[float]) -> int:
    """Return the most requests that any second brought, wherever it begins."""
    return max(bisect_left(moments, a + 1) - i for i, a in enumerate(moments))


def storm(folder: Path, wanted: int) -> tuple[float, list[float]]:
    """Get so many answers by the rules; return the seconds it took and the arrivals, refused ones included."""
    rules = Politeness(state=str(folder / "storm.sqlite"), per_second={"storm": PER_SECOND})
    before, politeness.LONGEST_PAUSE_S = politeness.LONGEST_PAUSE_S, PAUSE_S
    try:
        with counting() as (url, arrived), ThreadPoolExecutor(WORKERS) as workers:
            web = WebApis(endpoints={"storm": url}, timeout_s=600, politeness=rules)
            started = time.perf_counter()
            states = list(workers.map(lambda n: web.get("storm", f"/{n}").state, range(wanted)))
            seconds = time.perf_counter() - started
    finally:
        politeness.LONGEST_PAUSE_S = before
    assert states == ["complete"] * wanted
    return seconds, arrived


def without_manners(wanted: int) -> tuple[float, list[float]]:
    with counting() as (url, arrived), ThreadPoolExecutor(WORKERS) as workers, httpx.Client() as client:

        def get(n: int) -> None:
            while client.get(f"{url}/{n}").status_code != httpx.codes.OK:
                pass

        started = time.perf_counter()
        list(workers.map(get, range(wanted)))
        return time.perf_counter() - started, arrived


def lines(size: Size, folder: Path) -> Iterator[Line]:
    wanted = size.requests * REFUSED.count(False) // len(REFUSED)
    seconds, arrived = storm(folder, wanted)
    bare, crowd = without_manners(wanted)
    yield Line(
        f"{len(arrived):,} requests, 40 % refused, {PER_SECOND:.0f} a second allowed",
        shown(seconds),
        f"a loop that asks again at once {shown(bare)}",
        seconds / bare,
    )
    yield Line(
        "the same: requests in the busiest second, as the host counts them",
        f"{busiest_second(arrived)}",
        f"{busiest_second(crowd):,}",
        limit=f"≤ {PER_SECOND:.0f}",
        held=busiest_second(arrived) <= PER_SECOND,
    )
