"""A host that misbehaves byte by byte, and a clock on which nobody waits."""

import socketserver
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus

from crpbot_dagster.resources.politeness import Clock

NOON = 1_700_000_000.0
DRIP_S = 0.05
TLS_HELLO = b"\x16"


@dataclass
class Answer:
    """What goes over the wire: ``raw``, at once or a byte at a time; then the line is closed, or kept open."""

    raw: bytes
    drips: bool = False
    hangs: bool = False


def answer(status: int = 200, body: bytes = b"{}", said_length: int | None = None, **headers: str) -> Answer:
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
    lines += [f"{n.replace('_', '-')}: {v}" for n, v in headers.items()]
    lines += [f"content-length: {len(body) if said_length is None else said_length}", "connection: close", "", ""]
    return Answer("\r\n".join(lines).encode() + body)


@dataclass
class FakeTime:
    """Time that passes when somebody sleeps."""

    moment: float = NOON
    slept: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.moment += seconds

    @property
    def clock(self) -> Clock:
        return Clock(lambda: self.moment, self.sleep)


@dataclass
class Host:
    """The host: its address, and what it was asked, when."""

    url: str
    requests: list[str] = field(default_factory=list)
    moments: list[float] = field(default_factory=list)


Script = Callable[[int, float], Answer]
"""(how many requests came before, the moment) → the answer."""


def script(*answers: Answer) -> Script:
    """One after the other; the last for ever."""
    return lambda n, _: answers[min(n, len(answers) - 1)]


@contextmanager
def host(answers: Script, now: Callable[[], float] = time.time, tls: ssl.SSLContext | None = None) -> Iterator[Host]:
    lock, over = threading.Lock(), threading.Event()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            try:
                line = tls.wrap_socket(self.request, server_side=True) if tls else self.request
                head = b""
                while b"\r\n\r\n" not in head:
                    piece = line.recv(65_536)
                    if not piece:
                        return
                    if piece[:1] == TLS_HELLO and tls is None:
                        line.sendall(answer(400).raw)
                        return
                    head += piece
                with lock:
                    n, moment = len(known.requests), now()
                    known.requests.append(head.decode("latin-1"))
                    known.moments.append(moment)
                self.say(line, answers(n, moment))
            except OSError:  # the client has left, as it should
                return

        def say(self, line: ssl.SSLSocket, said: Answer) -> None:
            for i in range(len(said.raw) if said.drips else 0):
                line.sendall(said.raw[i : i + 1])
                if over.wait(DRIP_S):
                    return
            if not said.drips:
                line.sendall(said.raw)
            if said.hangs:
                over.wait()

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        request_queue_size = 256

    with Server(("127.0.0.1", 0), Handler) as server:
        known = Host(f"http{'s' if tls else ''}://127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield known
        finally:
            over.set()
            server.shutdown()
            thread.join()
