-- What of each feature is known on a symbol's day. V4 is part of V5. A feature that is not listed here fails a test.
with minutes as (
    select 'v5' as feature_set, f.feature, f.value
    from features.v5
        unpivot include nulls (value for feature in (
            open, high, low, close, volume, session_tokyo, session_london, session_new_york,
            day_of_week, is_weekend, spread, spread_pct, atr, spread_atr_ratio, volume_ma,
            volume_ratio, volume_trend, sma_7, sma_14, sma_21, sma_50, price_sma_7_ratio,
            price_sma_14_ratio, price_sma_21_ratio, price_sma_50_ratio, rsi, macd, macd_signal,
            macd_diff, bb_high, bb_low, bb_width, bb_position, ob_imbalance_1, ob_imbalance_5,
            ob_imbalance_10, ob_imbalance_25, ofi_1m, trade_flow_buy, trade_flow_sell,
            trade_flow_net_ratio, trade_flow_count_ratio, trade_flow_large_frac, vwap_1m, vwap_5m,
            vwap_15m, vwap_dev_bps_1h, vwap_slope_bps_15m, spread_bps, spread_std_bps_10m,
            effective_spread_bps, kyle_lambda_30m, amihud_30m, volatility_low, volatility_medium,
            volatility_high
        )) as f
    where f.symbol = $symbol and f.day = $day
    union all
    select 'v6' as feature_set, f.feature, f.value
    from features.v6
        unpivot include nulls (value for feature in (
            ret_log_1m, ret_log_5m, ret_log_15m, ret_log_1h, ret_log_4h, ret_log_1d, range_log_15m,
            range_log_4h, close_position_4h, close_position_1d, volume_ratio_5m_1h,
            volume_ratio_1h_1d, gap_kraken_bps, gap_kraken_z_1h, gap_cryptocompare_bps,
            venue_dispersion_bps, kraken_volume_frac_1h, vwap_dev_bps_1h, amihud_1h,
            spread_cs_bps_1h, sma_dev_bps_30m, sma_dev_bps_4h, sma_cross_bps_15m_4h,
            ema_dev_bps_12m, ema_dev_bps_144m, macd_bps, macd_hist_bps, adx_14m, di_diff_14m,
            aroon_osc_25m, rsi_14x5m, rsi_14x15m, stoch_k_14m, stoch_d_14m, williams_r_1h, cci_20m,
            mfi_14m, ult_osc_7_14_28m, bb_position_1h, bb_width_1h, atr_bps_1h, parkinson_vol_4h,
            realized_vol_1d, vol_ratio_1h_1d, dvol_frac, obv_frac_1h, vwap_dev_bps_1d,
            vp_poc_dev_bps_1d, vp_value_area_pos_1d, cmf_1h, market_cap_usd,
            market_cap_change_log_1d, market_cap_change_log_7d, market_cap_change_log_30d,
            market_cap_rank_n, turnover_frac_1d, supply_change_log_30d, high_dist_log_365d,
            btc_dominance_frac, btc_dominance_change_7d, eth_dominance_frac,
            total_cap_change_log_30d, stable_cap_change_log_7d, fear_greed_index,
            fear_greed_change_7d, fear_greed_z_30d, wiki_views_z_30d,
            reddit_subscribers_change_log_7d, news_n_1d, news_tone_1d, github_commits_n_4w,
            github_stars_change_log_30d, github_prs_merged_n_30d, btc_hash_rate_change_log_7d,
            btc_hash_ribbon_log, arb_net_bps, arb_open_frac_1h, funding_rate_bps_8h,
            funding_dispersion_bps_8h, funding_z_30d, basis_bps, oi_change_log_1d,
            iv_rv_spread_frac, put_call_volume_ratio_1d, put_call_oi_ratio, iv_skew_25d_frac,
            coinbase_premium_bps, coinbase_premium_mean_bps_4h, corr_spx_30d, corr_dxy_30d,
            minute_of_day_sin, minute_of_day_cos, day_of_week, is_tokyo_open, is_london_open,
            is_nyse_open, is_nyse_holiday, nyse_countdown_min, funding_countdown_frac,
            option_expiry_countdown_frac, is_stale_derivatives, is_stale_fx, is_stale_options,
            is_stale_coin, is_stale_sentiment, is_stale_attention, is_stale_developer, is_stale_slow
        )) as f
    where f.symbol = $symbol and f.day = $day
    union all
    select 'mean_reversion' as feature_set, f.feature, f.value
    from features.mean_reversion
        unpivot include nulls (value for feature in (
            imbalance, imbalance_ma5, vpin, vpin_ma10, spread_bps, aggressor_flow, flow_zscore,
            realized_vol_60min, price_zscore_60min, price_zscore_240min, ob_imbalance_1,
            ob_imbalance_10, ob_imbalance_25, ofi_1m, ofi_15m, queue_depletion_asym_15m,
            queue_cancel_frac_15m, depth_z_4h, trade_flow_net_ratio_15m, trade_size_z_1h,
            trade_count_z_1h, effective_spread_bps, price_impact_bps_5s, kyle_lambda_30m,
            ou_half_life_min_12h, ou_speed_4h, ou_zscore_4h, hurst_12h, variance_ratio_5_4h,
            variance_ratio_z_15_12h, vwap_dev_bps_4h, ema_dev_bps_60m, microprice_dev_bps,
            funding_parity_dev_bps, bb_position, rsi, bipower_vol_4h, jump_z_4h, semivar_asym_4h,
            realized_vol_rank_1d, adx_14m, efficiency_ratio_1h, is_ranging, lead_ret_log_5m,
            lead_residual_bps_15m, lead_corr_4h, lead_lag_asym_4h, ratio_zscore_4h,
            funding_rate_bps_8h, funding_z_30d, basis_bps, funding_countdown_frac, liq_imbalance_1h,
            minute_of_day_sin, minute_of_day_cos, ix_imbalance_vol, ix_vpin_size,
            ix_spread_imbalance, ix_zscore_sq_60min, ix_zscore_flow, is_stale_derivatives
        )) as f
    where f.symbol = $symbol and f.day = $day
)
select
    $symbol::varchar as symbol,
    $day::date as day,
    feature_set,
    feature,
    count(*) as rows_n,
    count(value) as valid_n,
    1 - count(value) / count(*) as null_frac
from minutes
group by feature_set, feature
