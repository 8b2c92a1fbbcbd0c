"""Mean reversion: sixty features, one line per column, and the staleness flag beside them.

``T`` is ``bars/trades_1m``, ``B`` ``bars/book_1m``, ``P`` the partner's book, ``V`` ``bars/volume_buckets``, ``X:*``
``bars/derivatives_1m`` of every venue, ``D`` ``bars/daily``, ``CAL`` the calendar; ``x`` = ln mid. What "below" means
(AR(1), variance ratio, jumps) is in docs/conventions.md, "Mean reversion". The formulas are implemented in
``assets/features/mean_reversion.py``; a test holds the lines below against the catalogue.
"""

import functools

import polars as pl

from crpbot_dagster.tables.features import ROWS_1440, catalogue_row, feature_checks
from crpbot_dagster.tables.schema import DAY, SYMBOL, TS, VENUE, Table, columns

_f, _flag = functools.partial(catalogue_row, pl.Float64()), functools.partial(catalogue_row, pl.Int8())

# One line per row of the catalogue, so that the two can be read side by side.
# fmt: off
MR_FEATURES = (
    _f("imbalance", "B.imbalance_5_tw: depth imbalance of 5 levels, time-weighted over the minute", "1", "[−1, 1]", "B.imbalance_5_tw", 1, "row", "as_is", "CHW09", "proof_of_concept"),
    _f("imbalance_ma5", "mean_5(imbalance)", "1", "[−1, 1]", "B.imbalance_5_tw", 5, "4/5", "as_is", "CHW09", "proof_of_concept"),
    _f("vpin", "mean of abs(buy_volume − sell_volume)/bucket_volume over the last 25 buckets with end_ts in (ts+1m−1200m, ts+1m); null if fewer than 25", "1", "[0, 1]", "V.buy_volume, V.sell_volume, V.bucket_volume, V.end_ts", 1200, "exact", "as_is", "ELO12", "proof_of_concept"),
    _f("vpin_ma10", "mean_10(vpin)", "1", "[0, 1]", "V.buy_volume, V.sell_volume, V.bucket_volume, V.end_ts", 1209, "8/10", "as_is", "ELO12", "proof_of_concept"),
    _f("spread_bps", "as V5 #49", "bps", "> 0", "B.spread_bps_tw", 1, "row", "log1p", "HS96", "proof_of_concept"),
    _f("aggressor_flow", "buy_volume − sell_volume", "coin", "R", "T.buy_volume, T.sell_volume", 1, "row", "excluded (coin scale; #7 carries it)", "–", "proof_of_concept"),
    _f("flow_zscore", "z_60(aggressor_flow)", "z", "[−7.7, 7.7]", "T.buy_volume, T.sell_volume", 60, "48/60", "as_is", "ours", "proof_of_concept"),
    _f("realized_vol_60min", "ann(mean_60(m1²))", "ann", "≥ 0", "B.mid", 61, "48/60", "log1p", "ABDL03", "proof_of_concept"),
    _f("price_zscore_60min", "z_60(x)", "z", "[−7.7, 7.7]", "B.mid", 60, "48/60", "as_is", "–", "proof_of_concept"),
    _f("price_zscore_240min", "z_240(x)", "z", "[−15.5, 15.5]", "B.mid", 240, "192/240", "as_is", "–", "proof_of_concept"),
    _f("ob_imbalance_1", "as V5 #34", "1", "[−1, 1]", "B.bid_depth_1, B.ask_depth_1", 1, "row", "as_is", "GB16", "book_and_queue"),
    _f("ob_imbalance_10", "as V5 #36", "1", "[−1, 1]", "B.bid_depth_10, B.ask_depth_10", 1, "row", "as_is", "CHW09", "book_and_queue"),
    _f("ob_imbalance_25", "as V5 #37", "1", "[−1, 1]", "B.bid_depth_25, B.ask_depth_25", 1, "row", "as_is", "CHW09", "book_and_queue"),
    _f("ofi_1m", "as V5 #38", "1", "R", "B.ofi_coin, B.depth_1_tw", 1, "row", "as_is", "CKS14", "book_and_queue"),
    _f("ofi_15m", "sum_15(ofi_coin)/mean_15(depth_1_tw)", "1", "R", "B.ofi_coin, B.depth_1_tw", 15, "12/15", "as_is", "CKS14", "book_and_queue"),
    _f("queue_depletion_asym_15m", "share(sum_15(best_ask_up_n), sum_15(best_bid_down_n))", "1", "[−1, 1]", "B.best_ask_up_n, B.best_bid_down_n", 15, "12/15", "as_is", "ours", "book_and_queue"),
    _f("queue_cancel_frac_15m", "max(0, 1 − sum_15(volume)/sum_15(remove_coin)): share of removed size not explained by trades", "frac", "[0, 1]", "B.remove_coin, T.volume", 15, "12/15", "as_is", "ours", "book_and_queue"),
    _f("depth_z_4h", "z_240(ln(bid_depth_25 + ask_depth_25))", "z", "[−15.5, 15.5]", "B.bid_depth_25, B.ask_depth_25", 240, "192/240", "as_is", "ours", "book_and_queue"),
    _f("trade_flow_net_ratio_15m", "share(sum_15(buy_volume_usd), sum_15(sell_volume_usd))", "1", "[−1, 1]", "T.buy_volume_usd, T.sell_volume_usd", 15, "12/15", "as_is", "CKS14", "flow_and_impact"),
    _f("trade_size_z_1h", "z_60(ln(volume_usd/trade_count_n)), rows with a trade", "z", "[−7.7, 7.7]", "T.volume_usd, T.trade_count_n", 60, "48/60", "as_is", "ours", "flow_and_impact"),
    _f("trade_count_z_1h", "z_60(ln(1 + trade_count_n))", "z", "[−7.7, 7.7]", "T.trade_count_n", 60, "48/60", "as_is", "ours", "flow_and_impact"),
    _f("effective_spread_bps", "as V5 #51", "bps", "R", "B.eff_spread_bps", 1, "row", "as_is", "HS96", "flow_and_impact"),
    _f("price_impact_bps_5s", "B.impact_5s_bps: the part of #22 that stays after 5 s", "bps", "R", "B.impact_5s_bps", 1, "row", "as_is", "HS96", "flow_and_impact"),
    _f("kyle_lambda_30m", "as V5 #52", "bps/M$", "R", "B.mid, T.buy_volume_usd, T.sell_volume_usd", 31, "24/30", "as_is", "KY85", "flow_and_impact"),
    _f("ou_half_life_min_12h", "AR(1) below over 720 pairs; min(1440, −ln 2/ln φc) if 0 < φc < 1; 0 if φc ≤ 0; 1440 if φc ≥ 1 (its limits on both sides)", "min", "[0, 1440]", "B.mid", 721, "576/720", "log1p", "AL10", "speed_of_reversion"),
    _f("ou_speed_4h", "1 − φc, AR(1) below over 240 pairs; clipped to the range", "1/min", "[−1, 3]", "B.mid", 241, "192/240", "as_is", "AL10", "speed_of_reversion"),
    _f("ou_zscore_4h", "(x − a/(1−φ))/(σ/√(1−φ²)) of the 240-pair AR(1), plain φ; null unless 0 < φ < 1 (no equilibrium, no value); clipped to ±10", "z", "[−10, 10]", "B.mid", 241, "192/240", "as_is", "AL10", "speed_of_reversion"),
    _f("hurst_12h", "OLS slope of ln K(τ) on ln τ, τ ∈ {1, 2, 4, 8, 16, 32}; K(τ) = mean of abs(x_j − x_{j−τ}) over pairs inside the last 720 rows; null if a K is 0; clipped to the range", "1", "[−0.5, 1.5]", "B.mid", 720, "80 % of pairs, each τ", "as_is", "DM07", "speed_of_reversion"),
    _f("variance_ratio_5_4h", "VR(5) over 240 returns m1, below; clipped to the range", "1", "[0, 6]", "B.mid", 241, "192/240", "as_is", "LMK88", "speed_of_reversion"),
    _f("variance_ratio_z_15_12h", "z*(15) over 720 returns m1, below", "z", "R", "B.mid", 721, "576/720", "as_is", "LMK88", "speed_of_reversion"),
    _f("vwap_dev_bps_4h", "10⁴·ln(close/(sum_240(volume_usd)/sum_240(volume)))", "bps", "R", "T.close, T.volume_usd, T.volume", 240, "192/240", "as_is", "BLN88", "fair_value"),
    _f("ema_dev_bps_60m", "10⁴·ln(close/ema_60(close))", "bps", "R", "T.close", 600, "w80", "as_is", "–", "fair_value"),
    _f("microprice_dev_bps", "10⁴·ln(microprice/mid)", "bps", "R", "B.microprice, B.mid", 1, "row", "as_is", "GO10", "fair_value"),
    _f("funding_parity_dev_bps", "basis_bps − funding_rate_bps_8h·funding_countdown_frac: premium above what the coming payment explains", "bps", "R", "X:*.mark, X:*.index, X:*.funding_rate, X:*.funding_interval_h, CAL", 1, "2 venues", "as_is", "HM22", "fair_value"),
    _f("bb_position", "as V4 #33", "1", "[−0.6, 1.6]", "T.close", 20, "16/20", "as_is", "BO01", "fair_value"),
    _f("rsi", "as V4 #26", "1", "[0, 100]", "T.close", 271, "w80", "as_is", "WI78", "fair_value"),
    _f("bipower_vol_4h", "ann(bv), below", "ann", "≥ 0", "B.mid", 241, "80 % of pairs", "log1p", "BNS04", "volatility_and_jumps"),
    _f("jump_z_4h", "ratio jump statistic, below", "z", "R", "B.mid", 241, "80 % of triples", "as_is", "HT05", "volatility_and_jumps"),
    _f("semivar_asym_4h", "share(Σ m1²·1{m1 > 0}, Σ m1²·1{m1 < 0}) over 240 returns", "1", "[−1, 1]", "B.mid", 241, "192/240", "as_is", "BKS10", "volatility_and_jumps"),
    _f("realized_vol_rank_1d", "(number of v[j] < v + ½·number of v[j] = v)/n; v = realized_vol_60min over rows t−1379 … t, own row counted as equal", "frac", "(0, 1)", "B.mid", 1440, "1104/1380", "as_is", "ours", "volatility_and_jumps"),
    _f("adx_14m", "as V6 #28", "1", "[0, 100]", "T.high, T.low, T.close", 540, "w80", "as_is", "WI78", "regime"),
    _f("efficiency_ratio_1h", "min(1, abs(x − x[60])/sum_60(abs(m1)))", "frac", "[0, 1]", "B.mid", 61, "ends, 48/60", "as_is", "KA95", "regime"),
    _flag("is_ranging", "1 if variance_ratio_5_4h < 1 and adx_14m < 25 else 0; fixed thresholds, no sample quantile; null if either is null", "flag", "{0,1}", "B.mid, T.high, T.low, T.close", 540, "row", "as_is", "ours", "regime"),
    _f("lead_ret_log_5m", "lr(P.mid, 5)", "log", "R", "P.mid", 6, "ends", "as_is", "LMK90", "lead_and_lag_against_the_partner"),
    _f("lead_residual_bps_15m", "10⁴·(lr(mid, 15) − β·lr(P.mid, 15)), β = cov_240(m1, p1)/var_240(p1) over the same rows", "bps", "R", "B.mid, P.mid", 241, "ends, 192/240", "as_is", "AL10", "lead_and_lag_against_the_partner"),
    _f("lead_corr_4h", "corr_240(m1, p1)", "1", "[−1, 1]", "B.mid, P.mid", 241, "192/240", "as_is", "–", "lead_and_lag_against_the_partner"),
    _f("lead_lag_asym_4h", "corr_240(m1, p1[1]) − corr_240(p1, m1[1]); positive when the partner leads", "1", "[−2, 2]", "B.mid, P.mid", 242, "192/240 each", "as_is", "LMK90", "lead_and_lag_against_the_partner"),
    _f("ratio_zscore_4h", "z_240(ln(mid/P.mid))", "z", "[−15.5, 15.5]", "B.mid, P.mid", 240, "192/240", "as_is", "–", "lead_and_lag_against_the_partner"),
    _f("funding_rate_bps_8h", "as V6 #78", "bps", "R", "X:*.funding_rate, X:*.funding_interval_h", 1, "2 venues", "as_is", "HM22", "funding_and_liquidations"),
    _f("funding_z_30d", "as V6 #80", "z", "R", "X:*.funding_rate, X:*.funding_interval_h, D.funding_bps_8h_mean", "30 d", "24/30", "as_is", "ours", "funding_and_liquidations"),
    _f("basis_bps", "as V6 #81", "bps", "R", "X:*.mark, X:*.index", 1, "2 venues", "as_is", "HM22", "funding_and_liquidations"),
    _f("funding_countdown_frac", "as V6 #99", "frac", "(0, 1]", "CAL", 1, "–", "as_is", "ours", "funding_and_liquidations"),
    _f("liq_imbalance_1h", "share(b, s); b, s = sum_60 over venues of liq_buy_usd, liq_sell_usd; 0 when b + s = 0 (feed alive, none happened)", "1", "[−1, 1]", "X:*.liq_buy_usd, X:*.liq_sell_usd", 60, "48/60", "as_is", "ours", "funding_and_liquidations"),
    _f("minute_of_day_sin", "as V6 #91", "1", "[−1, 1]", "ts", 1, "–", "as_is", "–", "time"),
    _f("minute_of_day_cos", "as V6 #92", "1", "[−1, 1]", "ts", 1, "–", "as_is", "–", "time"),
    _f("ix_imbalance_vol", "imbalance · realized_vol_60min", "ann", "R", "B.imbalance_5_tw, B.mid", 61, "row", "as_is", "ours", "interactions"),
    _f("ix_vpin_size", "vpin · trade_size_z_1h", "z", "[−7.7, 7.7]", "V.buy_volume, V.sell_volume, V.bucket_volume, V.end_ts, T.volume_usd, T.trade_count_n", 1200, "row", "as_is", "ours", "interactions"),
    _f("ix_spread_imbalance", "spread_bps · imbalance (5 levels; with level 1 it would be microprice_dev_bps·2)", "bps", "R", "B.imbalance_5_tw, B.spread_bps_tw", 1, "row", "as_is", "ours", "interactions"),
    _f("ix_zscore_sq_60min", "price_zscore_60min²", "1", "[0, 59]", "B.mid", 60, "row", "as_is", "ours", "interactions"),
    _f("ix_zscore_flow", "price_zscore_60min · flow_zscore", "1", "[−59, 59]", "T.buy_volume, T.sell_volume, B.mid", 60, "row", "as_is", "ours", "interactions"),
)

MR_FLAGS = (
    _flag("is_stale_derivatives", "1 if a perpetual's row of the minute carries a value older than its table allows", "flag", "{0,1}", "X:*.is_stale", 1, "–", "excluded", "ours", "staleness"),
)
# fmt: on

MEAN_REVERSION = Table(
    "features/mean_reversion",
    "one minute of a symbol: 60 mean-reversion features, 1 staleness flag beside them",
    ("symbol", "venue", "ts"),
    columns(SYMBOL, DAY, VENUE, TS, MR_FEATURES, MR_FLAGS),
    ROWS_1440,
    feature_checks(
        (
            "imbalance",
            "vpin",
            "realized_vol_60min",
            "ob_imbalance_25",
            "trade_flow_net_ratio_15m",
            "ou_half_life_min_12h",
            "vwap_dev_bps_4h",
            "jump_z_4h",
            "adx_14m",
            "lead_corr_4h",
            "funding_rate_bps_8h",
            "liq_imbalance_1h",
        )
    ),
)

TABLES = (MEAN_REVERSION,)
"""What a model may see of the way back to a fair price."""
