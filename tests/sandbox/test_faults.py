"""The faults that the sandbox serves on request, seen from the other end of the wire."""

import socket
from collections.abc import Iterator
from datetime import date

import httpx
import pytest

from crpbot_dagster.sandbox.market import MarketSpec
from crpbot_dagster.sandbox.server import create_app, serve

CANDLES = "/api/v3/brokerage/market/products/BTC-USD/candles?start=1700438400&end=1700442000&granularity=ONE_MINUTE"


@pytest.fixture(scope="module")
def market() -> Iterator[str]:
    with serve(create_app(MarketSpec(7, 0.05), None, None, today=date(2023, 12, 1))) as url:
        yield url


def plant(market: str, **query: str) -> httpx.Response:
    return httpx.post(f"{market}/sandbox/faults", params={"path": "/api"} | query)


def test_a_status_is_answered_as_often_as_asked_for_and_repeats_the_request(market: str) -> None:
    assert plant(market, kind="429", count="2", retry_after="7").json()[0]["count"] == 2
    for _ in range(2):
        refused = httpx.get(market + CANDLES, headers={"authorization": "Bearer canary"})
        assert refused.status_code == 429 and refused.headers["retry-after"] == "7"
        assert "canary" in refused.text and "granularity" in refused.text
    assert httpx.get(market + CANDLES).status_code == 200
    assert httpx.get(f"{market}/sandbox/faults").json() == []


def test_other_paths_are_left_alone_and_a_fault_can_be_lifted(market: str) -> None:
    plant(market, path="/kraken", kind="503", count="9")
    assert httpx.get(market + CANDLES).status_code == 200
    assert httpx.get(f"{market}/kraken/0/public/Time").status_code == 503
    assert httpx.delete(f"{market}/sandbox/faults", params={"path": "/kraken"}).json() == []


def test_a_redirect_names_its_address(market: str) -> None:
    plant(market, kind="redirect", location="http://169.254.169.254/latest")
    answer = httpx.get(market + CANDLES)
    assert answer.status_code == 302 and answer.headers["location"] == "http://169.254.169.254/latest"


def test_a_truncated_answer_is_shorter_than_it_says(market: str) -> None:
    plant(market, kind="truncated")
    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
        httpx.get(market + CANDLES)


@pytest.mark.parametrize(("kind", "least"), [("hang", 0), ("slow", 1)])
def test_slow_answers_begin_and_do_not_end(market: str, kind: str, least: int) -> None:
    plant(market, kind=kind)
    host, _, port = market.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=0.3) as line:
        line.sendall(f"GET {CANDLES} HTTP/1.1\r\nhost: {host}\r\n\r\n".encode())
        received = b""
        with pytest.raises(TimeoutError):
            while True:
                received += line.recv(1024)
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200") and len(body) == least


@pytest.mark.parametrize(
    "query", [{"kind": "200"}, {"kind": "gone"}, {"kind": "429", "count": "-1"}, {"kind": "429", "count": "many"}]
)
def test_a_fault_that_makes_no_sense_is_refused(market: str, query: dict[str, str]) -> None:
    assert plant(market, **query).status_code == 400
    assert httpx.get(f"{market}/sandbox/faults").json() == []
