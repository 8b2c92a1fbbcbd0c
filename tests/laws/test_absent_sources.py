"""Mean reversion without one of its sources: those columns are null and named, the others have the same bits (V6: tests/features)."""

from dataclasses import replace

import pytest
from laws import laws
from laws.every_source import MR_SETTINGS
from laws.subjects import SUBJECTS

from crpbot_dagster.assets.features import mean_reversion
from crpbot_dagster.assets.features.inputs import Inputs
from crpbot_dagster.tables.features_mr import MEAN_REVERSION

build = SUBJECTS["mean_reversion"].build


def test_an_absent_source_is_null_and_named(everything: Inputs) -> None:
    book, partner, buckets = "bars/book_1m", "bars/book_1m", "bars/volume_buckets"
    cases = {
        "book": (replace(everything, book=None), book, "hurst_12h"),
        "partner": (replace(everything, partner_book=None), partner, "lead_corr_4h"),
        "buckets": (replace(everything, buckets=None), buckets, "ix_vpin_size"),
        "daily": (replace(everything, slow={}), "bars/daily", "funding_z_30d"),
        "derivatives": (replace(everything, derivatives={}), "bars/derivatives_1m", "is_stale_derivatives"),
        "one venue": (
            replace(everything, derivatives={"deribit": everything.derivatives["deribit"]}), "bars/derivatives_1m", "basis_bps"
        ),
    }  # fmt: skip
    whole = build(everything)
    assert mean_reversion.absent(everything, MR_SETTINGS) == {}
    for name, (less, table, example) in cases.items():
        made, why = build(less), mean_reversion.absent(less, MR_SETTINGS)
        empty = {c.name for c in MEAN_REVERSION.features if made[c.name].null_count() == made.height}
        assert empty == set(why) and why[example] == table, name
        of_any_venue = {"liq_imbalance_1h", "is_stale_derivatives"} if name == "one venue" else set()
        rest = [c for c in laws.names(MEAN_REVERSION) if c not in why and c not in of_any_venue]
        assert laws.same(whole, made, rest) == set(), name
    nothing = build(Inputs(trades=everything.trades))
    assert nothing["rsi"].equals(whole["rsi"])


def test_another_grid_is_refused(everything: Inputs) -> None:
    with pytest.raises(ValueError, match="book is not on the minutes of trades"):
        build(replace(everything, book=everything.book.head(100)))
