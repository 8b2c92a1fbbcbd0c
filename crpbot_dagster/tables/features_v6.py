"""Feature table V6: 100 features from many sources, one line per column, as the catalogue gives them.

Prefixes of what a line reads: ``T`` the primary venue's trades, ``T:kraken`` another venue's, ``T:*`` every price venue's,
``B:*`` every book venue's, ``X:*`` every funding venue's perpetual, ``F`` the price of USDT, ``O`` options, ``D`` daily
rows, ``C`` the coin, ``G`` the whole market, ``S`` sentiment, ``A`` attention, ``H`` developers, ``N`` network, ``M``
macro series, ``CAL`` calendars. ``#n`` is the n-th line. Not here: how they are made (``assets/features/``).
"""

import functools

import polars as pl

from crpbot_dagster.tables.features import ROWS_1440, catalogue_row, feature_checks
from crpbot_dagster.tables.schema import DAY, SYMBOL, TS, VENUE, Table, columns

_f, _flag = functools.partial(catalogue_row, pl.Float64()), functools.partial(catalogue_row, pl.Int8())

# One line per row of the catalogue, so that the two can be read side by side.
# fmt: off
V6_FEATURES = (
    _f("ret_log_1m", "lr(close, 1)", "log", "R", "T.close", 2, "ends", "as_is", "–", "price_volume"),
    _f("ret_log_5m", "lr(close, 5)", "log", "R", "T.close", 6, "ends", "as_is", "–", "price_volume"),
    _f("ret_log_15m", "lr(close, 15)", "log", "R", "T.close", 16, "ends", "as_is", "–", "price_volume"),
    _f("ret_log_1h", "lr(close, 60)", "log", "R", "T.close", 61, "ends", "as_is", "–", "price_volume"),
    _f("ret_log_4h", "lr(close, 240)", "log", "R", "T.close", 241, "ends", "as_is", "–", "price_volume"),
    _f("ret_log_1d", "lr(close, 1440)", "log", "R", "T.close", 1441, "ends", "as_is", "–", "price_volume"),
    _f("range_log_15m", "ln(max_15(high)/min_15(low))", "log", "≥ 0", "T.high, T.low", 15, "12/15", "as_is", "PA80", "price_volume"),
    _f("range_log_4h", "ln(max_240(high)/min_240(low))", "log", "≥ 0", "T.high, T.low", 240, "192/240", "as_is", "PA80", "price_volume"),
    _f("close_position_4h", "(close − min_240(low))/(max_240(high) − min_240(low))", "frac", "[0, 1]", "T.close, T.high, T.low", 240, "192/240", "as_is", "–", "price_volume"),
    _f("close_position_1d", "the same over 1440 rows", "frac", "[0, 1]", "T.close, T.high, T.low", 1440, "1152/1440", "as_is", "–", "price_volume"),
    _f("volume_ratio_5m_1h", "mean_5(volume)/mean_60(volume)", "1", "[0, 12]", "T.volume", 60, "4/5, 48/60", "log1p", "–", "price_volume"),
    _f("volume_ratio_1h_1d", "mean_60(volume)/mean_1440(volume)", "1", "[0, 24]", "T.volume", 1440, "48/60, 1152/1440", "log1p", "–", "price_volume"),
    _f("gap_kraken_bps", "10⁴·ln(T:kraken.close / close)", "bps", "R", "T.close, T:kraken.close", 1, "row", "as_is", "MS20", "price_volume"),
    _f("gap_kraken_z_1h", "z_60(#13)", "z", "[−7.7, 7.7]", "T.close, T:kraken.close", 60, "48/60", "as_is", "MS20", "price_volume"),
    _f("gap_cryptocompare_bps", "10⁴·ln(T:cryptocompare.close[1] / close[1])", "bps", "R", "T.close, T:cryptocompare.close", 2, "row", "as_is", "MS20", "price_volume"),
    _f("venue_dispersion_bps", "10⁴ · population std over v in PRICE_VENUES of ln p_v[1]; null with fewer than 3 venues", "bps", "≥ 0", "T:*.close, F.usdt_usd", 2, "3 venues", "log1p", "MS20", "price_volume"),
    _f("kraken_volume_frac_1h", "K/(K + V); K = sum_60(T:kraken.volume), V = sum_60(volume), over rows where both are non-null", "frac", "[0, 1]", "T.volume, T:kraken.volume", 60, "48/60", "as_is", "ours", "price_volume"),
    _f("vwap_dev_bps_1h", "as V5 #47", "bps", "R", "T.close, T.volume_usd, T.volume", 60, "48/60", "as_is", "BLN88", "price_volume"),
    _f("amihud_1h", "as V5 #53 over 60 rows", "bps/M$", "≥ 0", "T.close, T.volume_usd", 61, "48/60", "log1p", "AM02", "price_volume"),
    _f("spread_cs_bps_1h", "10⁴ · mean over the 59 neighbouring pairs (j, j+1) of the last 60 rows of max(0, 2(e^α − 1)/(1 + e^α)); α = (√(2β) − √β)/k − √(γ/k), k = 3 − 2√2, β = ln²(H_j/L_j) + ln²(H_{j+1}/L_{j+1}), γ = ln²(max(H_j, H_{j+1})/min(L_j, L_{j+1}))", "bps", "≥ 0", "T.high, T.low", 60, "48/59", "log1p", "CS12", "price_volume"),
    _f("sma_dev_bps_30m", "10⁴·ln(close/mean_30(close))", "bps", "R", "T.close", 30, "24/30", "as_is", "–", "technical"),
    _f("sma_dev_bps_4h", "10⁴·ln(close/mean_240(close))", "bps", "R", "T.close", 240, "192/240", "as_is", "–", "technical"),
    _f("sma_cross_bps_15m_4h", "10⁴·ln(mean_15(close)/mean_240(close))", "bps", "R", "T.close", 240, "12/15, 192/240", "as_is", "–", "technical"),
    _f("ema_dev_bps_12m", "10⁴·ln(close/ema_12(close))", "bps", "R", "T.close", 120, "w80", "as_is", "–", "technical"),
    _f("ema_dev_bps_144m", "10⁴·ln(close/ema_144(close))", "bps", "R", "T.close", 1440, "w80", "as_is", "–", "technical"),
    _f("macd_bps", "10⁴·(ema_12(close) − ema_26(close))/close", "bps", "R", "T.close", 260, "w80", "as_is", "AP05", "technical"),
    _f("macd_hist_bps", "10⁴·(L − ema_9(L))/close, L = ema_12(close) − ema_26(close)", "bps", "R", "T.close", 349, "w80", "as_is", "AP05", "technical"),
    _f("adx_14m", "wil_14(DX); DX = 100·abs(share(I⁺, I⁻)); I± = wil_14(DM±)/wil_14(TR); u = high − high[1], w = low[1] − low; DM⁺ = u if u > w and u > 0 else 0; DM⁻ = w if w > u and w > 0 else 0", "1", "[0, 100]", "T.high, T.low, T.close", 540, "w80", "as_is", "WI78", "technical"),
    _f("di_diff_14m", "100·(I⁺ − I⁻)", "1", "[−100, 100]", "T.high, T.low, T.close", 271, "w80", "as_is", "WI78", "technical"),
    _f("aroon_osc_25m", "100·(a_low − a_high)/25; a_high, a_low = rows since the (latest) highest high and lowest low of the last 26 rows", "1", "[−100, 100]", "T.high, T.low", 26, "21/26", "as_is", "CK94", "technical"),
    _f("rsi_14x5m", "100·U/(U+D) over d_i = close[5i] − close[5i+5], i = 0…13; U = Σ max(d,0), D = Σ max(−d,0)", "1", "[0, 100]", "T.close", 71, "12/14", "as_is", "CU", "technical"),
    _f("rsi_14x15m", "the same with 15-minute steps", "1", "[0, 100]", "T.close", 211, "12/14", "as_is", "CU", "technical"),
    _f("stoch_k_14m", "100·(close − min_14(low))/(max_14(high) − min_14(low))", "1", "[0, 100]", "T.close, T.high, T.low", 14, "12/14", "as_is", "LA84", "technical"),
    _f("stoch_d_14m", "mean_3(stoch_k_14m)", "1", "[0, 100]", "T.close, T.high, T.low", 16, "3/3", "as_is", "LA84", "technical"),
    _f("williams_r_1h", "−100·(max_60(high) − close)/(max_60(high) − min_60(low))", "1", "[−100, 0]", "T.close, T.high, T.low", 60, "48/60", "as_is", "WR79", "technical"),
    _f("cci_20m", "(tp − m)/(0.015·a); m = mean_20(tp), a = mean over the window of abs(tp[j] − m)", "1", "R", "T.high, T.low, T.close", 20, "16/20", "as_is", "LM80", "technical"),
    _f("mfi_14m", "100·P/(P+Q) over 14 rows; f = tp·volume; P = Σ f where tp > tp[1], Q = Σ f where tp < tp[1]", "1", "[0, 100]", "T.high, T.low, T.close, T.volume", 15, "12/14", "as_is", "QS89", "technical"),
    _f("ult_osc_7_14_28m", "100·(4A₇ + 2A₁₄ + A₂₈)/7; A_n = sum_n(close − l)/sum_n(h − l), l = min(low, close[1]), h = max(high, close[1])", "1", "[0, 100]", "T.high, T.low, T.close", 29, "6/7, 12/14, 23/28", "as_is", "WU85", "technical"),
    _f("bb_position_1h", "(close − m + 2s)/(4s); m = mean_60(close), s = std0_60(close)", "1", "[−1.5, 2.5]", "T.close", 60, "48/60", "as_is", "BO01", "technical"),
    _f("bb_width_1h", "4s/close, s as #39", "frac", "≥ 0", "T.close", 60, "48/60", "as_is", "BO01", "technical"),
    _f("atr_bps_1h", "10⁴·mean_60(TR)/close", "bps", "≥ 0", "T.high, T.low, T.close", 61, "48/60", "log1p", "WI78", "technical"),
    _f("parkinson_vol_4h", "ann(mean_240(ln²(high/low))/(4·ln 2))", "ann", "≥ 0", "T.high, T.low", 240, "192/240", "log1p", "PA80", "technical"),
    _f("realized_vol_1d", "ann(mean_1440(r²))", "ann", "≥ 0", "T.close", 1441, "1152/1440", "log1p", "ABDL03", "technical"),
    _f("vol_ratio_1h_1d", "sqrt(mean_60(r²)/mean_1440(r²))", "1", "[0, 4.9]", "T.close", 1441, "48/60, 1152/1440", "as_is", "ours", "technical"),
    _f("dvol_frac", "asof(O.dvol_frac) of OPTION_CURRENCY: the VIX-like index", "ann", "> 0", "O.dvol_frac", "6 h", "asof", "as_is", "DVOL", "technical"),
    _f("obv_frac_1h", "Σ sign(r)·volume / Σ volume over the last 60 rows with r non-null", "1", "[−1, 1]", "T.close, T.volume", 61, "48/60", "as_is", "GR63", "technical"),
    _f("vwap_dev_bps_1d", "10⁴·ln(close/(sum_1440(volume_usd)/sum_1440(volume)))", "bps", "R", "T.close, T.volume_usd, T.volume", 1440, "1152/1440", "as_is", "BLN88", "technical"),
    _f("vp_poc_dev_bps_1d", "10⁴·(ln close − centre of the point-of-control bin), volume profile below", "bps", "R", "T.close, T.high, T.low, T.vwap, T.volume", 1440, "1152/1440", "as_is", "ST86", "technical"),
    _f("vp_value_area_pos_1d", "(ln close − VAL)/(VAH − VAL), volume profile below", "1", "R", "T.close, T.high, T.low, T.vwap, T.volume", 1440, "1152/1440", "as_is", "ST86", "technical"),
    _f("cmf_1h", "Σ c·volume / Σ volume over 60 rows with c non-null; c = (2·close − high − low)/(high − low), 0 when high = low", "1", "[−1, 1]", "T.high, T.low, T.close, T.volume", 60, "48/60", "as_is", "CHA", "technical"),
    _f("market_cap_usd", "asof(C.market_cap_usd)", "USD", "> 0", "C.market_cap_usd", "1 d", "asof", "log1p", "CG", "fundamental"),
    _f("market_cap_change_log_1d", "ln(cap_d / cap_{d−1})", "log", "R", "C.market_cap_usd", "2 d", "ends", "as_is", "CG", "fundamental"),
    _f("market_cap_change_log_7d", "ln(cap_d / cap_{d−7})", "log", "R", "C.market_cap_usd", "8 d", "ends", "as_is", "CG", "fundamental"),
    _f("market_cap_change_log_30d", "ln(cap_d / cap_{d−30})", "log", "R", "C.market_cap_usd", "31 d", "ends", "as_is", "CG", "fundamental"),
    _f("market_cap_rank_n", "asof(C.market_cap_rank)", "n", "≥ 1", "C.market_cap_rank", "1 d", "asof", "log1p", "CG", "fundamental"),
    _f("turnover_frac_1d", "total_volume_usd / market_cap_usd", "frac", "≥ 0", "C.total_volume_usd, C.market_cap_usd", "1 d", "asof", "log1p", "CG", "fundamental"),
    _f("supply_change_log_30d", "ln(s_d / s_{d−30}), s = market_cap_usd / price_usd", "log", "R", "C.market_cap_usd, C.price_usd", "31 d", "ends", "as_is", "CG", "fundamental"),
    _f("high_dist_log_365d", "ln(close / max of obs_365(D.high))", "log", "R", "T.close, D.high", "365 d", "292/365", "as_is", "GH04", "fundamental"),
    _f("btc_dominance_frac", "btc_cap_usd / total_cap_usd", "frac", "[0, 1]", "G.btc_cap_usd, G.total_cap_usd", "1 d", "asof", "as_is", "CG", "fundamental"),
    _f("btc_dominance_change_7d", "#59 at d − #59 at d−7", "frac", "[−1, 1]", "G.btc_cap_usd, G.total_cap_usd", "8 d", "ends", "as_is", "CG", "fundamental"),
    _f("eth_dominance_frac", "eth_cap_usd / total_cap_usd", "frac", "[0, 1]", "G.eth_cap_usd, G.total_cap_usd", "1 d", "asof", "as_is", "CG", "fundamental"),
    _f("total_cap_change_log_30d", "ln(total_cap_d / total_cap_{d−30})", "log", "R", "G.total_cap_usd", "31 d", "ends", "as_is", "CG", "fundamental"),
    _f("stable_cap_change_log_7d", "ln(stable_cap_d / stable_cap_{d−7})", "log", "R", "G.stable_cap_usd", "8 d", "ends", "as_is", "CG", "fundamental"),
    _f("fear_greed_index", "asof(S.fear_greed)", "1", "[0, 100]", "S.fear_greed", "1 d", "asof", "as_is", "FNG", "fundamental"),
    _f("fear_greed_change_7d", "x_d − x_{d−7}", "1", "[−100, 100]", "S.fear_greed", "8 d", "ends", "as_is", "FNG", "fundamental"),
    _f("fear_greed_z_30d", "(x_d − mean)/std over obs_30", "z", "[−5.3, 5.3]", "S.fear_greed", "30 d", "24/30", "as_is", "FNG", "fundamental"),
    _f("wiki_views_z_30d", "z over obs_30 of ln(1 + wiki_views_n)", "z", "[−5.3, 5.3]", "A.wiki_views_n", "30 d", "24/30", "as_is", "KR13", "fundamental"),
    _f("reddit_subscribers_change_log_7d", "ln(x_d / x_{d−7})", "log", "R", "A.reddit_subscribers_n", "8 d", "ends", "as_is", "CG", "fundamental"),
    _f("news_n_1d", "asof(A.news_n)", "n", "≥ 0", "A.news_n", "1 d", "asof", "log1p", "CC", "fundamental"),
    _f("news_tone_1d", "(news_pos_n − news_neg_n)/news_n", "1", "[−1, 1]", "A.news_n, A.news_pos_n, A.news_neg_n", "1 d", "asof", "as_is", "CC", "fundamental"),
    _f("github_commits_n_4w", "asof(H.commits_4w_n)", "n", "≥ 0", "H.commits_4w_n", "1 d", "asof", "log1p", "GHA", "fundamental"),
    _f("github_stars_change_log_30d", "ln(stars_d / stars_{d−30})", "log", "R", "H.stars_n", "31 d", "ends", "as_is", "GHA", "fundamental"),
    _f("github_prs_merged_n_30d", "prs_merged_d − prs_merged_{d−30}; null if negative (counter reset)", "n", "≥ 0", "H.prs_merged_n", "31 d", "ends", "log1p", "GHA", "fundamental"),
    _f("btc_hash_rate_change_log_7d", "ln(mean of h over d−6…d / mean over d−13…d−7)", "log", "R", "N.btc_hash_rate", "14 d", "6/7 each", "as_is", "BCI", "fundamental"),
    _f("btc_hash_ribbon_log", "ln(mean of obs_30(h) / mean of obs_60(h))", "log", "R", "N.btc_hash_rate", "60 d", "24/30, 48/60", "as_is", "BCI", "fundamental"),
    _f("arb_net_bps", "max over ordered pairs a ≠ b of BOOK_VENUES of 10⁴·ln(bid_b·fx_b / (ask_a·fx_a)) − fee_a − fee_b; fx = F.usdt_usd for USDT venues, else 1; fee = TAKER_FEE_BPS", "bps", "R", "B:*.best_bid, B:*.best_ask, F.usdt_usd", 1, "2 venues", "as_is", "MS20", "macro"),
    _f("arb_open_frac_1h", "mean_60(1{arb_net_bps > 0})", "frac", "[0, 1]", "B:*.best_bid, B:*.best_ask, F.usdt_usd", 60, "48/60", "as_is", "MS20", "macro"),
    _f("funding_rate_bps_8h", "median over FUNDING_VENUES of 10⁴·funding_rate·8/funding_interval_h", "bps", "R", "X:*.funding_rate, X:*.funding_interval_h", 1, "2 venues", "as_is", "HM22", "macro"),
    _f("funding_dispersion_bps_8h", "max − min over the same venues", "bps", "≥ 0", "X:*.funding_rate, X:*.funding_interval_h", 1, "2 venues", "log1p", "HM22", "macro"),
    _f("funding_z_30d", "(#78 − mean)/std of obs_30(D.funding_bps_8h_mean)", "z", "R", "X:*.funding_rate, X:*.funding_interval_h, D.funding_bps_8h_mean", "30 d", "24/30", "as_is", "ours", "macro"),
    _f("basis_bps", "median over FUNDING_VENUES of 10⁴·ln(mark/index)", "bps", "R", "X:*.mark, X:*.index", 1, "2 venues", "as_is", "HM22", "macro"),
    _f("oi_change_log_1d", "ln(Σ_v open_interest / Σ_v open_interest[1440]), over venues valid at both times", "log", "R", "X:*.open_interest", 1441, "ends, 1 venue", "as_is", "ours", "macro"),
    _f("iv_rv_spread_frac", "dvol_frac − sqrt(365·mean of obs_30(D.rv_1d)), D of the option currency's symbol", "ann", "R", "O.dvol_frac, D.rv_1d", "30 d", "24/30", "as_is", "BTZ09", "macro"),
    _f("put_call_volume_ratio_1d", "share(put, call); sums of the last 24 available hours", "1", "[−1, 1]", "O.put_volume, O.call_volume", "1 d", "20/24", "as_is", "PP06", "macro"),
    _f("put_call_oi_ratio", "share(put_oi, call_oi), asof", "1", "[−1, 1]", "O.put_oi, O.call_oi", "6 h", "asof", "as_is", "PP06", "macro"),
    _f("iv_skew_25d_frac", "asof(O.skew_25d_frac)", "ann", "R", "O.skew_25d_frac", "6 h", "asof", "as_is", "XZZ10", "macro"),
    _f("coinbase_premium_bps", "10⁴·ln(T:coinbase.close / (T:offshore.close·usdt_usd)), offshore = OFFSHORE_VENUE", "bps", "R", "T:coinbase.close, T:offshore.close, F.usdt_usd", 1, "row", "as_is", "MS20", "macro"),
    _f("coinbase_premium_mean_bps_4h", "mean_240(#87): the persistent part", "bps", "R", "T:coinbase.close, T:offshore.close, F.usdt_usd", 240, "192/240", "as_is", "MS20", "macro"),
    _f("corr_spx_30d", "Pearson correlation over the last 30 available NYSE days of ln(SP500_i/SP500_{i−1}) and ln(c_i/c_{i−1}); c_i = D.close of that calendar day, i−1 = previous NYSE day, so a week-end is one return on both sides", "1", "[−1, 1]", "M.value(SP500), D.close", "31 NYSE d", "24/30", "as_is", "FRED", "macro"),
    _f("corr_dxy_30d", "the same with DTWEXBGS", "1", "[−1, 1]", "M.value(DTWEXBGS), D.close", "31 NYSE d", "24/30", "as_is", "FRED", "macro"),
    _f("minute_of_day_sin", "sin(2π·(60·hour + minute)/1440)", "1", "[−1, 1]", "ts", 1, "–", "as_is", "–", "time"),
    _f("minute_of_day_cos", "cos of the same", "1", "[−1, 1]", "ts", 1, "–", "as_is", "–", "time"),
    _flag("day_of_week", "as V4 #9", "cat", "0…6", "ts", 1, "–", "category", "–", "time"),
    _flag("is_tokyo_open", "Mon–Fri and 09:00 ≤ k < 15:30 Asia/Tokyo (15:00 before 2024-11-05); lunch break and holidays ignored", "flag", "{0,1}", "CAL", 1, "–", "as_is", "TSE", "time"),
    _flag("is_london_open", "Mon–Fri and 08:00 ≤ k < 16:30 Europe/London; holidays ignored", "flag", "{0,1}", "CAL", 1, "–", "as_is", "LSE", "time"),
    _flag("is_nyse_open", "a NYSE session has open ≤ k < close (09:30–16:00 New York, early closes 13:00)", "flag", "{0,1}", "CAL", 1, "–", "as_is", "NYSE", "time"),
    _flag("is_nyse_holiday", "the New York date of k is a weekday without a session", "flag", "{0,1}", "CAL", 1, "–", "as_is", "NYSE", "time"),
    _f("nyse_countdown_min", "minutes from k to the next close if #96 = 1, else to the next open", "min", "(0, 7200]", "CAL", 1, "–", "log1p", "NYSE", "time"),
    _f("funding_countdown_frac", "minutes from k to the next of 00:00, 08:00, 16:00 UTC / 480", "frac", "(0, 1]", "CAL", 1, "–", "as_is", "ours", "time"),
    _f("option_expiry_countdown_frac", "minutes from k to the next Friday 08:00 UTC / 10080", "frac", "(0, 1]", "CAL", 1, "–", "as_is", "DVOL", "time"),
)

STALE_FLAGS = (
    _flag("is_stale_derivatives", "1 if a perpetual's row of the minute carries a value older than its table allows", "flag", "{0,1}", "X:*.is_stale", 1, "–", "excluded", "ours", "staleness"),
    _flag("is_stale_fx", "1 if the price of USDT is older than 5 min", "flag", "{0,1}", "F.is_stale", 1, "–", "excluded", "ours", "staleness"),
    _flag("is_stale_options", "1 if the newest options hour, or the hour that a value is read from, has been known for more than 2 h", "flag", "{0,1}", "O.available_ts", "6 h", "–", "excluded", "ours", "staleness"),
    _flag("is_stale_coin", "1 if the newest day of C or G, or the day that a value is read from, has been known for more than 26 h", "flag", "{0,1}", "C.available_ts, G.available_ts", "1 d", "–", "excluded", "ours", "staleness"),
    _flag("is_stale_sentiment", "1 if the newest day of S, or the day that its value is read from, has been known for more than 26 h", "flag", "{0,1}", "S.available_ts", "1 d", "–", "excluded", "ours", "staleness"),
    _flag("is_stale_attention", "1 if the newest day of A, page views and the rest apart, or the day that a value is read from, has been known for more than 50 h", "flag", "{0,1}", "A.available_ts, A.wiki_available_ts", "1 d", "–", "excluded", "ours", "staleness"),
    _flag("is_stale_developer", "1 if the newest day of H, or the day that its value is read from, has been known for more than 50 h", "flag", "{0,1}", "H.available_ts", "1 d", "–", "excluded", "ours", "staleness"),
    _flag("is_stale_slow", "1 if the newest day of N has been known for more than 32 h, or of a series of M for more than 5 d", "flag", "{0,1}", "N.available_ts, M.available_ts", "1 d", "–", "excluded", "ours", "staleness"),
)
# fmt: on

V6 = Table(
    "features/v6",
    "one minute of a symbol: 100 features from prices, venues, derivatives, options and slow sources, 8 staleness flags",
    ("symbol", "venue", "ts"),
    columns(SYMBOL, DAY, VENUE, TS, V6_FEATURES, STALE_FLAGS),
    ROWS_1440,
    feature_checks(
        (
            "ret_log_1d",
            "bb_width_1h",
            "vp_poc_dev_bps_1d",
            "gap_kraken_bps",
            "market_cap_usd",
            "btc_dominance_frac",
            "fear_greed_index",
            "wiki_views_z_30d",
            "funding_rate_bps_8h",
            "dvol_frac",
            "arb_net_bps",
            "corr_spx_30d",
        )
    ),
)

TABLES = (V6,)
"""What a model may see of many sources."""
