"""Faults of the simulated market, planted and lifted while it is being served: a day's trades with unreadable rows.

    POST   /sandbox/faults?symbol=BTC-USD&day=2023-11-20   from now on the day's trades file is corrupt
    DELETE the same                                        it is sound again
    GET    /sandbox/faults                                 what is planted

Not here: the sound files (``server.py``), what becomes of bad rows (``assets/raw``).
"""

from dataclasses import dataclass, field
from datetime import date

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

EVERY = 50  # 2 % of the rows, twenty times what a partition may lose to quarantine


@dataclass(frozen=True)
class Faults:
    """The planted faults: symbol and day of each."""

    planted: set[tuple[str, date]] = field(default_factory=set)

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

    def route(self) -> Route:
        """Return the endpoint that plants, lifts and lists."""

        def control(request: Request) -> Response:
            if request.method != "GET":
                fault = _fault(request)
                (self.planted.add if request.method == "POST" else self.planted.discard)(fault)
            return JSONResponse([{"symbol": s, "day": d.isoformat()} for s, d in sorted(self.planted)])

        return Route("/sandbox/faults", control, methods=["GET", "POST", "DELETE"])


def _fault(request: Request) -> tuple[str, date]:
    query = request.query_params
    try:
        return query["symbol"], date.fromisoformat(query["day"])
    except (KeyError, ValueError) as error:
        raise HTTPException(400, "name symbol=BTC-USD and day=2023-11-20") from error
