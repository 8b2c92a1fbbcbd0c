"""Faults of the simulated market, planted and lifted while it is being served.

A day's trades with unreadable rows, until they are lifted:

    POST   /sandbox/faults?symbol=BTC-USD&day=2023-11-20   from now on the day's trades file is corrupt
    DELETE the same                                        it is sound again

Bad answers of the network, for the next requests below a path:

    POST   /sandbox/faults?path=/kraken&kind=429&count=5&retry_after=7
    DELETE /sandbox/faults?path=/kraken                    the rest of them is lifted

    kind      a status from 400 to 599, with its body in the words of the request (its headers too, as some vendors do)
              truncated: half of the body that Content-Length names    slow: a byte a second
              hang: headers, then nothing    redirect: to the address ``location``
    count     how many requests meet it, 1 if not given
    retry_after   the header of that name: seconds or an HTTP date

    GET    /sandbox/faults                                 what is planted

Not here: the sound files (``server.py``), what becomes of bad rows (``assets/raw``) and answers (``resources/``).
"""

import asyncio
import json
import re
from dataclasses import asdict, dataclass, field
from datetime import date

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

EVERY = 50  # 2 % of the rows, twenty times what a partition may lose to quarantine
KINDS = ("truncated", "slow", "hang", "redirect")
CONTROL = "/sandbox/"
SLOW_S = 1.0  # between two bytes

_STATUS = re.compile(r"[45]\d\d", re.ASCII)


@dataclass
class BadAnswer:
    """A fault of the network below a path, and how many requests will still meet it."""

    path: str
    kind: str
    count: int = 1
    retry_after: str = ""
    location: str = ""


@dataclass(frozen=True)
class Faults:
    """The planted faults: symbol and day of each corrupt file, and the bad answers in the order they were planted."""

    planted: set[tuple[str, date]] = field(default_factory=set)
    answers: list[BadAnswer] = field(default_factory=list)

    def spoil(self, data_type: str, symbol: str, day: date, text: bytes) -> bytes:
        """Return the CSV as it is sent: with every 50th row's price gone while a fault is planted."""
        if data_type != "trades" or (symbol, day) not in self.planted:
            return text
        header, *rows = text.splitlines()
        price = header.split(b",").index(b"price")
        for n in range(0, len(rows), EVERY):
            cells = rows[n].split(b",")
            cells[price] = b"garbage"
            rows[n] = b",".join(cells)
        return b"\n".join([header, *rows, b""])

    def next_answer(self, path: str) -> BadAnswer | None:
        """Return the fault that a request of ``path`` meets now, one less of it left."""
        for bad in self.answers:
            if path.startswith(bad.path) and bad.count > 0:
                bad.count -= 1
                return bad
        return None

    def route(self) -> Route:
        """Return the endpoint that plants, lifts and lists."""

        def control(request: Request) -> Response:
            if request.method != "GET" and "path" in request.query_params:
                self._control_answers(request)
            elif request.method != "GET":
                fault = _fault(request)
                (self.planted.add if request.method == "POST" else self.planted.discard)(fault)
            files = [{"symbol": s, "day": d.isoformat()} for s, d in sorted(self.planted)]
            return JSONResponse(files + [asdict(a) for a in self.answers if a.count])

        return Route("/sandbox/faults", control, methods=["GET", "POST", "DELETE"])

    def _control_answers(self, request: Request) -> None:
        if request.method == "POST":
            self.answers.append(_bad_answer(request))
        else:
            self.answers[:] = [a for a in self.answers if a.path != request.query_params["path"]]

    def before(self, app: ASGIApp) -> ASGIApp:
        """Return the application behind the bad answers."""

        async def faulty(scope: Scope, receive: Receive, send: Send) -> None:
            bad = None
            if scope["type"] == "http" and not scope["path"].startswith(CONTROL):
                bad = self.next_answer(scope["path"])
            if bad is None:
                await app(scope, receive, send)
            elif bad.kind in ("truncated", "slow", "hang"):
                await _broken_off(bad, app, scope, receive, send)
            else:
                await _refusal(bad, Request(scope))(scope, receive, send)

        return faulty


def _refusal(bad: BadAnswer, request: Request) -> Response:
    headers = {"retry-after": bad.retry_after} if bad.retry_after else {}
    if bad.kind == "redirect":
        return Response(status_code=302, headers=headers | {"location": bad.location})
    said = {"code": int(bad.kind), "message": f"refused: {request.url}", "headers": dict(request.headers)}
    return Response(json.dumps(said), int(bad.kind), headers, "application/json")


async def _broken_off(bad: BadAnswer, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    messages: list[Message] = []

    async def keep(message: Message) -> None:
        messages.append(message)

    await app(scope, receive, keep)
    start, *rest = messages
    body = b"".join(m.get("body", b"") for m in rest)
    await send(start)
    if bad.kind == "truncated":
        # The server closes the connection when the application ends before its answer does.
        await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
        return
    for i in range(len(body) if bad.kind == "slow" else 0):
        await send({"type": "http.response.body", "body": body[i : i + 1], "more_body": True})
        if await _left(receive, SLOW_S):
            return
    await _left(receive, None)


async def _left(receive: Receive, seconds: float | None) -> bool:
    """Wait for the client to hang up, at most so long; say whether it did."""
    try:
        async with asyncio.timeout(seconds):
            while (await receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        return False
    return True


def _fault(request: Request) -> tuple[str, date]:
    query = request.query_params
    try:
        return query["symbol"], date.fromisoformat(query["day"])
    except (KeyError, ValueError) as error:
        raise HTTPException(
            400, "name symbol=BTC-USD and day=2023-11-20, or path=/kraken and kind=429 (or another)"
        ) from error


def _bad_answer(request: Request) -> BadAnswer:
    query = request.query_params
    kind, count = query.get("kind", ""), query.get("count", "1")
    if not (_STATUS.fullmatch(kind) or kind in KINDS):
        raise HTTPException(400, f"kind is a status from 400 to 599, or one of {', '.join(KINDS)}")
    if not (count.isascii() and count.isdigit()):
        raise HTTPException(400, "count is how many requests will meet the fault")
    return BadAnswer(query["path"], kind, int(count), query.get("retry_after", ""), query.get("location", ""))
