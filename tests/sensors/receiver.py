"""A web server on localhost that keeps what is posted to it, as a chat service would; Apprise's json:// speaks to it."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Receiver:
    """What arrived; ``answer`` is the status code it gives, by title where ``refuse`` names one."""

    port: int
    got: list[dict[str, str]] = field(default_factory=list)
    answer: int = 200
    refuse: str = "\0"

    @property
    def url(self) -> str:
        return f"json://127.0.0.1:{self.port}/secret-path"

    @property
    def titles(self) -> list[str]:
        return [m["title"] for m in self.got]


@contextmanager
def receiver() -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found = json.loads(self.rfile.read(int(self.headers["content-length"])))
            code = 500 if box.refuse in found["title"] else box.answer
            if code == 200:
                box.got.append({k: found[k] for k in ("title", "message", "type")})
            self.send_response(code)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    box = Receiver(server.server_address[1])
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield box
    finally:
        server.shutdown()
        server.server_close()
