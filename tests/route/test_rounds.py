"""What runs beside what: the whole market first, what reads other symbols last."""

from datetime import date

from crpbot_dagster.runs import Step
from crpbot_dagster.tables.schema import MARKET_WIDE
from crpbot_dagster.workers import rounds

DAY = date(2024, 1, 2)


def test_the_market_comes_first_and_what_reads_other_symbols_last() -> None:
    def own(symbol: str) -> Step:
        return Step(symbol, DAY, ("features/v5",))

    def wide(symbol: str) -> Step:
        return Step(symbol, DAY, ("features/v6",), is_beside=True, waits_for_all=True)

    market = Step(MARKET_WIDE, DAY, ("bars/global_1d",), is_beside=True)
    plans = {"BTC": [own("BTC"), wide("BTC")], MARKET_WIDE: [market], "ETH": [wide("ETH"), own("ETH")]}
    assert list(rounds(plans)) == [
        {MARKET_WIDE: [market]},
        {"BTC": [own("BTC")], "ETH": [own("ETH")]},
        {"BTC": [wide("BTC")], "ETH": [wide("ETH")]},
    ]
    assert [r for r in rounds({"BTC": [own("BTC")]}) if r] == [{"BTC": [own("BTC")]}]
