"""Mean reversion: sixty features of how far a price strayed, how fast it returns and who is pushing it.

Reads the minutes of one symbol at its primary venue (trades, book), its partner's book there, volume buckets, the
perpetuals of several venues and the daily mean of funding (docs/conventions.md). What is absent makes nulls.
Not here: the kernels (``reversion.py``), funding (``perpetuals.py``), wiring (``assets.py``).
"""

import math
from dataclasses import dataclass

import numpy as np
import polars as pl

from crpbot_dagster.assets.bars.derivatives import VENUES_NEEDED, funding_bps_8h, middle
from crpbot_dagster.assets.features import reversion, slow
from crpbot_dagster.assets.features.inputs import Inputs
from crpbot_dagster.assets.features.market_calendar import (
    MINUTE_US,
    funding_countdown,
    microseconds,
    minute_of_day,
)
from crpbot_dagster.assets.features.microstructure import BPS, kyle_lambda, log_ratio, volume_weighted_price
from crpbot_dagster.assets.features.perpetuals import basis_bps, columns_of, liquidation_imbalance, of_venues
from crpbot_dagster.assets.features.price import arrays, as_frame, bollinger_bands, relative_strength_index
from crpbot_dagster.assets.features.technical import average_directional_index, directional_movement
from crpbot_dagster.assets.features.windows import (
    Floats,
    annualised,
    ema,
    lag,
    mean,
    needed,
    ratio,
    share,
    total,
    window_mean,
    window_slope_of,
    window_sum,
)
from crpbot_dagster.assets.features.windows import zscore as _z
from crpbot_dagster.tables.features import READ_FROM
from crpbot_dagster.tables.features_mr import MEAN_REVERSION, MR_FEATURES, MR_FLAGS
from crpbot_dagster.tables.schema import Column

DAY_ROWS = 1380  # docs/conventions.md: with the 61 rows of each volatility the reach is 1,440
RANGING_ADX = 25.0  # Wilder (1978): above, a trend; a fixed threshold, as a sample's quantile would see the future
FOUR_THIRDS_MOMENT = 2 ** (2 / 3) * math.gamma(7 / 6) / math.gamma(1 / 2)  # E|Z|^(4/3): Huang & Tauchen (2005), eq. 12
JUMP_VARIANCE = math.pi**2 / 4 + math.pi - 5  # the same, eq. 7


@dataclass(frozen=True)
class MRSettings:
    """What mean reversion is told instead of guessing; no value has a default."""

    symbol: str
    funding_venues: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.funding_venues) < VENUES_NEEDED:
            named = ", ".join(self.funding_venues) or "none"
            raise ValueError(f"funding needs at least {VENUES_NEEDED} venues, got {named}")


def build(inputs: Inputs, settings: MRSettings) -> pl.DataFrame:
    """Return ts, the 60 features and the staleness flag, one row per row of ``inputs.trades``.

    Parameters
    ----------
    inputs
        Minute frames on one dense, sorted grid; buckets sorted by end_ts; slow tables with their ``available_ts``.
    settings
        Whose daily rows and which perpetuals are meant.

    Returns
    -------
    One row per minute; a row reads at most the 1,439 rows before it. Source: docs/conventions.md.

    Raises
    ------
    ValueError
        A minute frame is not on the grid of ``inputs.trades``.
    """
    ts = inputs.trades["ts"]
    minutes = {"book": inputs.book, "partner_book": inputs.partner_book, **inputs.derivatives}
    for name, frame in minutes.items():
        if frame is not None and not ts.equals(frame["ts"]):
            raise ValueError(f"{name} is not on the minutes of trades: join both onto one dense grid first")
    c = _flow_and_book(inputs) | _prices(inputs)
    c |= _reversion(inputs) | _volatility(inputs) | _partner(inputs) | _derivatives(inputs, settings)
    c["vpin"] = vpin(ts, inputs.buckets)
    c["vpin_ma10"] = mean(c["vpin"], 10)
    v = c["realized_vol_60min"]
    c["realized_vol_rank_1d"] = np.asarray(reversion.window_rank(v, DAY_ROWS, needed(DAY_ROWS)))
    ranging = (c["variance_ratio_5_4h"] < 1) & (c["adx_14m"] < RANGING_ADX)
    c["is_ranging"] = np.where(np.isnan(c["variance_ratio_5_4h"] + c["adx_14m"]), np.nan, ranging)
    c["minute_of_day_sin"], c["minute_of_day_cos"] = minute_of_day(ts)
    c["ix_imbalance_vol"] = c["imbalance"] * v
    c["ix_vpin_size"] = c["vpin"] * c["trade_size_z_1h"]
    c["ix_spread_imbalance"] = c["spread_bps"] * c["imbalance"]
    c["ix_zscore_sq_60min"] = c["price_zscore_60min"] ** 2
    c["ix_zscore_flow"] = c["price_zscore_60min"] * c["flow_zscore"]
    columns = MR_FEATURES + MR_FLAGS
    flags = {f.name for f in columns if f.dtype == pl.Int8}
    return as_frame(ts, c, tuple(f.name for f in columns), flags)


def absent(inputs: Inputs, settings: MRSettings) -> dict[str, str]:
    """Return the features that are null throughout because of what ``inputs`` lacks: the table, or the empty column."""
    venues = [v for v in settings.funding_venues if v in inputs.derivatives]
    days = slow.observations(inputs.slow.get("D"), "D", {"symbol": settings.symbol})
    missing = {
        "B": inputs.book is None,
        "P": inputs.partner_book is None,
        "V": inputs.buckets is None,
        "D": days is None,
    }
    empty = {f"T.{name}" for name in inputs.trades.columns if inputs.trades[name].is_null().all()}

    def lacks(column: Column) -> str:
        for read in column.reads:
            letter, _, name = read.partition(".")
            least = 1 if name.startswith(("liq_", "is_stale")) else VENUES_NEEDED
            told = [v for v in venues if name in inputs.derivatives[v] and inputs.derivatives[v][name].count()]
            if len(told) < least if letter == "X:*" else missing.get(letter, False):
                return READ_FROM[letter[0]]
            if read in empty:
                return f"{read} has no value"
        return ""

    return {c.name: why for c in MEAN_REVERSION.features if (why := lacks(c))}


def vpin(ts: pl.Series, buckets: pl.DataFrame | None) -> Floats:
    """Return the mean imbalance of the last 25 volume buckets, all of the last 20 hours, in [0, 1].

    Aggressor sides as the exchange gives them, no bulk classification. Source: ``volume_synchronised_imbalance``.
    """
    if buckets is None:
        return np.full(len(ts), np.nan)
    bought, sold, size = arrays(buckets, "buy_volume", "sell_volume", "bucket_volume")
    return np.asarray(
        reversion.volume_synchronised_imbalance(
            ratio(np.abs(bought - sold), size),
            microseconds(buckets["end_ts"]),
            microseconds(ts) + MINUTE_US,
            reversion.VPIN_BUCKETS,
            reversion.VPIN_SPAN_US,
        )
    )


def jump_statistic(returns: Floats, w: int) -> tuple[Floats, Floats]:
    """Return the bipower variance per minute and the ratio statistic of jumps over ``w`` returns.

    Near 0 with deviation 1 without jumps, large and positive with one. Each mean needs 80 % of its pairs or triples;
    NaN where the variance is 0. Source: Huang & Tauchen (2005), J. Financial Econometrics 3(4),
    https://doi.org/10.1093/jjfinec/nbi025, after Barndorff-Nielsen & Shephard (2004, 2006).
    """
    size = np.abs(returns)
    pairs = size * lag(size, 1)
    triples = (pairs * lag(size, 2)) ** (4 / 3)
    bipower = math.pi / 2 * mean(pairs, w - 1)
    quarticity = FOUR_THIRDS_MOMENT**-3 * mean(triples, w - 2)
    realised = np.asarray(window_mean(returns**2, w, 1))
    n = np.asarray(window_sum(np.where(np.isnan(returns), np.nan, 1.0), w, 1))
    spread = np.sqrt(JUMP_VARIANCE * np.maximum(1.0, ratio(quarticity, bipower**2)) / n)
    return bipower, ratio(1 - ratio(bipower, realised), spread)


def _log(x: Floats) -> Floats:
    return np.log(x, out=np.full(len(x), np.nan), where=x > 0)


def _flow_and_book(inputs: Inputs) -> dict[str, Floats]:
    trades, rows = inputs.trades, inputs.trades.height
    c: dict[str, Floats] = {}
    (c["imbalance"],) = columns_of(inputs.book, rows, "imbalance_5_tw")
    c["imbalance_ma5"] = mean(c["imbalance"], 5)
    c["spread_bps"], c["effective_spread_bps"], c["price_impact_bps_5s"] = columns_of(
        inputs.book, rows, "spread_bps_tw", "eff_spread_bps", "impact_5s_bps"
    )
    bought, sold, volume, count = arrays(trades, "buy_volume", "sell_volume", "volume", "trade_count_n")
    bought_usd, sold_usd, value = arrays(trades, "buy_volume_usd", "sell_volume_usd", "volume_usd")
    c["aggressor_flow"] = bought - sold
    c["flow_zscore"] = _z(c["aggressor_flow"], 60)
    depths = {k: columns_of(inputs.book, rows, f"bid_depth_{k}", f"ask_depth_{k}") for k in (1, 10, 25)}
    c |= {f"ob_imbalance_{k}": share(bid, ask) for k, (bid, ask) in depths.items()}
    c["depth_z_4h"] = _z(_log(depths[25][0] + depths[25][1]), 240)
    flow, depth, removed = columns_of(inputs.book, rows, "ofi_coin", "depth_1_tw", "remove_coin")
    c["ofi_1m"] = ratio(flow, depth)
    c["ofi_15m"] = ratio(total(flow, 15), mean(depth, 15))
    ups, downs = columns_of(inputs.book, rows, "best_ask_up_n", "best_bid_down_n")
    c["queue_depletion_asym_15m"] = share(total(ups, 15), total(downs, 15))
    c["queue_cancel_frac_15m"] = np.maximum(0.0, 1 - ratio(total(volume, 15), total(removed, 15)))
    c["trade_flow_net_ratio_15m"] = share(total(bought_usd, 15), total(sold_usd, 15))
    c["trade_size_z_1h"] = _z(_log(ratio(value, count)), 60)
    c["trade_count_z_1h"] = _z(np.log(1 + count), 60)
    (mid,) = columns_of(inputs.book, rows, "mid")
    c["kyle_lambda_30m"] = kyle_lambda(mid, bought_usd, sold_usd, 30)
    return c


def _prices(inputs: Inputs) -> dict[str, Floats]:
    high, low, close, value, volume = arrays(inputs.trades, "high", "low", "close", "volume_usd", "volume")
    microprice, mid = columns_of(inputs.book, len(close), "microprice", "mid")
    c: dict[str, Floats] = {}
    c["vwap_dev_bps_4h"] = BPS * log_ratio(close, volume_weighted_price(value, volume, 240))
    c["ema_dev_bps_60m"] = BPS * log_ratio(close, ema(close, 60))
    c["microprice_dev_bps"] = BPS * log_ratio(microprice, mid)
    _, _, c["bb_position"] = bollinger_bands(close, 20)
    c["rsi"] = relative_strength_index(close, 14)
    c["adx_14m"] = average_directional_index(*directional_movement(high, low, close, 14), 14)
    return c


def _reversion(inputs: Inputs) -> dict[str, Floats]:
    (mid,) = columns_of(inputs.book, inputs.trades.height, "mid")
    x, m1 = _log(mid), log_ratio(mid, lag(mid, 1))
    c: dict[str, Floats] = {}
    c["price_zscore_60min"], c["price_zscore_240min"] = _z(x, 60), _z(x, 240)
    phi, _, pairs, _ = reversion.autoregression(x, 720, needed(720)).T
    c["ou_half_life_min_12h"] = reversion.half_life(reversion.unbiased(phi, pairs))
    phi, sigma, pairs, distance = reversion.autoregression(x, 240, needed(240)).T
    c["ou_speed_4h"] = np.clip(1 - reversion.unbiased(phi, pairs), -1, 3)
    c["ou_zscore_4h"] = reversion.equilibrium_score(phi, sigma, distance)
    c["hurst_12h"] = reversion.hurst(x, 720)
    c["variance_ratio_5_4h"] = np.minimum(reversion.variance_ratio(m1, 5, 240)[:, 0], 6.0)
    c["variance_ratio_z_15_12h"] = reversion.variance_ratio(m1, 15, 720)[:, 1]
    c["efficiency_ratio_1h"] = np.minimum(1.0, ratio(np.abs(x - lag(x, 60)), total(np.abs(m1), 60)))
    return c


def _volatility(inputs: Inputs) -> dict[str, Floats]:
    (mid,) = columns_of(inputs.book, inputs.trades.height, "mid")
    m1 = log_ratio(mid, lag(mid, 1))
    c: dict[str, Floats] = {"realized_vol_60min": annualised(mean(m1**2, 60))}
    bipower, c["jump_z_4h"] = jump_statistic(m1, 240)
    c["bipower_vol_4h"] = annualised(bipower)
    missing = np.isnan(m1)
    up, down = (np.where(missing, np.nan, np.where(side, m1**2, 0.0)) for side in (m1 > 0, m1 < 0))
    c["semivar_asym_4h"] = share(total(up, 240), total(down, 240))
    return c


def _partner(inputs: Inputs) -> dict[str, Floats]:
    rows, need = inputs.trades.height, needed(240)
    (mid,), (other,) = columns_of(inputs.book, rows, "mid"), columns_of(inputs.partner_book, rows, "mid")
    m1, p1 = log_ratio(mid, lag(mid, 1)), log_ratio(other, lag(other, 1))
    beta = np.asarray(window_slope_of(m1, p1, 240, need))
    leads = reversion.window_correlation(m1, lag(p1, 1), 240, need)
    follows = reversion.window_correlation(p1, lag(m1, 1), 240, need)
    return {
        "lead_ret_log_5m": log_ratio(other, lag(other, 5)),
        "lead_residual_bps_15m": BPS * (log_ratio(mid, lag(mid, 15)) - beta * log_ratio(other, lag(other, 15))),
        "lead_corr_4h": np.asarray(reversion.window_correlation(m1, p1, 240, need)),
        "lead_lag_asym_4h": leads - follows,
        "ratio_zscore_4h": _z(log_ratio(mid, other), 240),
    }


def _derivatives(inputs: Inputs, settings: MRSettings) -> dict[str, Floats]:
    ts = inputs.trades["ts"]

    def told(name: str) -> Floats:
        return of_venues(inputs.derivatives, settings.funding_venues, len(ts), name)

    funding = middle(funding_bps_8h(told("funding_rate"), told("funding_interval_h")), VENUES_NEEDED)
    basis = middle(basis_bps(told("mark"), told("index")), VENUES_NEEDED)
    countdown = funding_countdown(ts)
    days = slow.observations(inputs.slow.get("D"), "D", {"symbol": settings.symbol})
    return {
        "funding_rate_bps_8h": funding,
        "funding_z_30d": slow.funding_zscore(microseconds(ts), funding, days),
        "basis_bps": basis,
        "funding_countdown_frac": countdown,
        "funding_parity_dev_bps": basis - funding * countdown,
        "liq_imbalance_1h": liquidation_imbalance(told("liq_buy_usd"), told("liq_sell_usd"), 60),
        "is_stale_derivatives": np.fmax.reduce(told("is_stale"), axis=0),
    }
