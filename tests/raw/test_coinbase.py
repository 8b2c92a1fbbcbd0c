"""Coinbase's candles: what the exchange does not have is no error, what it refuses is one."""

from datetime import date
from pathlib import Path

import pytest

from crpbot_dagster.resources.exchanges import CoinbaseCandles
from crpbot_dagster.resources.politeness import SourceError
from crpbot_dagster.sandbox.server import create_app, serve

DAY = date(2024, 1, 2)


def test_a_product_without_recorded_candles_has_none(tmp_path: Path) -> None:
    with serve(create_app(None, tmp_path, None)) as url:
        assert CoinbaseCandles(endpoint=url, timeout_s=10, polite=False).fetch("BTC-USD", DAY, 60) == []


def test_another_refusal_is_an_error(tmp_path: Path) -> None:
    with serve(create_app(None, tmp_path, None)) as url, pytest.raises(SourceError, match=r"refused|did not answer"):
        CoinbaseCandles(endpoint=f"{url}/v1", timeout_s=10, polite=False).fetch("BTC-USD", DAY, 60)
