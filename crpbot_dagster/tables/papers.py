"""The papers behind the features: what the codes in a column's ``source`` stand for. ``ours`` and ``–`` have none."""

PAPERS = {
    "ABDL03": "Andersen, Bollerslev, Diebold, Labys (2003), Modeling and Forecasting Realized Volatility, Econometrica "
    "71(2), https://doi.org/10.1111/1468-0262.00418",
    "AL10": "Avellaneda, Lee (2010), Statistical Arbitrage in the US Equities Market, Quantitative Finance 10(7), "
    "https://doi.org/10.1080/14697680903124632",
    "AM02": "Amihud (2002), Illiquidity and Stock Returns, J. Financial Markets 5(1), "
    "https://doi.org/10.1016/S1386-4181(01)00024-6",
    "AP05": "Appel (2005), Technical Analysis: Power Tools for Active Investors (MACD)",
    "BCI": "blockchain.com/explorer/charts/hash-rate; mempool.space/docs/api (hash rate)",
    "BKS10": "Barndorff-Nielsen, Kinnebrock, Shephard (2010), Measuring Downside Risk: Realised Semivariance",
    "BLN88": "Berkowitz, Logue, Noser (1988), The Total Cost of Transactions on the NYSE, J. Finance 43(1) (VWAP)",
    "BNS04": "Barndorff-Nielsen, Shephard (2004), Power and Bipower Variation, J. Financial Econometrics 2(1), "
    "https://doi.org/10.1093/jjfinec/nbh001",
    "BO01": "Bollinger (2001), Bollinger on Bollinger Bands",
    "BTZ09": "Bollerslev, Tauchen, Zhou (2009), Expected Stock Returns and Variance Risk Premia, "
    "Rev. Financial Studies 22(11), https://doi.org/10.1093/rfs/hhp008",
    "CC": "CryptoCompare / CoinDesk Data, news endpoint with article sentiment",
    "CG": "CoinGecko API v3, https://docs.coingecko.com (market_chart, history, global)",
    "CHA": "Chaikin Money Flow (M. Chaikin)",
    "CHW09": "Cao, Hansch, Wang (2009), The Information Content of an Open Limit-Order Book, J. Futures Markets 29(1), "
    "https://doi.org/10.1002/fut.20334",
    "CK94": "Chande, Kroll (1994), The New Technical Trader; Aroon: Chande (1995)",
    "CKS14": "Cont, Kukanov, Stoikov (2014), The Price Impact of Order Book Events, J. Financial Econometrics 12(1), "
    "https://doi.org/10.1093/jjfinec/nbt003",
    "CS12": "Corwin, Schultz (2012), A Simple Way to Estimate Bid-Ask Spreads from Daily High and Low Prices, "
    "J. Finance 67(2), https://doi.org/10.1111/j.1540-6261.2012.01729.x",
    "CU": "Cutler's RSI: Wilder's RSI with plain sums, independent of the start of the data",
    "DM07": "Di Matteo (2007), Multi-scaling in Finance, Quantitative Finance 7(1) (generalised Hurst exponent), "
    "https://doi.org/10.1080/14697680600969727",
    "DVOL": "https://docs.deribit.com, volatility index data and option instruments",
    "ELO12": "Easley, López de Prado, O'Hara (2012), Flow Toxicity and Liquidity in a High-Frequency World, "
    "Rev. Financial Studies 25(5), https://doi.org/10.1093/rfs/hhs053",
    "FNG": "https://alternative.me/crypto/fear-and-greed-index (API: api.alternative.me/fng)",
    "FRED": "https://fred.stlouisfed.org, series SP500, DTWEXBGS; vintages from alfred.stlouisfed.org",
    "GB16": "Gould, Bonart (2016), Queue Imbalance as a One-Tick-Ahead Price Predictor, Market Microstructure and "
    "Liquidity 2(2), https://arxiv.org/abs/1512.03492",
    "GH04": "George, Hwang (2004), The 52-Week High and Momentum Investing, J. Finance 59(5)",
    "GHA": "https://docs.github.com/rest; CoinGecko developer data",
    "GO10": "Gatheral, Oomen (2010), Zero-Intelligence Realized Variance Estimation, Finance and Stochastics 14(2), "
    "https://doi.org/10.1007/s00780-009-0120-1",
    "GR63": "Granville (1963), New Key to Stock Market Profits (on-balance volume; windowed, divided by volume)",
    "HM22": "He, Manela, Ross, von Wachter (2022), Fundamentals of Perpetual Futures, https://arxiv.org/abs/2212.06888",
    "HS96": "Huang, Stoll (1996), Dealer versus Auction Markets, J. Financial Economics 41(3), "
    "https://doi.org/10.1016/0304-405X(95)00867-E",
    "HT05": "Huang, Tauchen (2005), The Relative Contribution of Jumps to Total Price Variance, "
    "J. Financial Econometrics 3(4), https://doi.org/10.1093/jjfinec/nbi025",
    "KA95": "Kaufman (1995), Smarter Trading (efficiency ratio)",
    "KR13": "Kristoufek (2013), BitCoin Meets Google Trends and Wikipedia, Scientific Reports 3, "
    "https://doi.org/10.1038/srep03415; data: Wikimedia Pageviews API",
    "KY85": "Kyle (1985), Continuous Auctions and Insider Trading, Econometrica 53(6), https://doi.org/10.2307/1913210",
    "LA84": "Lane (1984), Lane's Stochastics, Technical Analysis of Stocks & Commodities",
    "LM80": "Lambert (1980), Commodity Channel Index",
    "LMK88": "Lo, MacKinlay (1988), Stock Market Prices Do Not Follow Random Walks, Rev. Financial Studies 1(1), "
    "https://doi.org/10.1093/rfs/1.1.41",
    "LMK90": "Lo, MacKinlay (1990), When Are Contrarian Profits Due to Stock Market Overreaction?, "
    "Rev. Financial Studies 3(2), https://doi.org/10.1093/rfs/3.2.175",
    "LSE": "London Stock Exchange, published trading hours",
    "MS20": "Makarov, Schoar (2020), Trading and Arbitrage in Cryptocurrency Markets, J. Financial Economics 135(2), "
    "https://doi.org/10.1016/j.jfineco.2019.07.001",
    "NYSE": "New York Stock Exchange, published trading hours and holiday calendar",
    "PA80": "Parkinson (1980), The Extreme Value Method for Estimating the Variance of the Rate of Return, J. Business "
    "53(1), https://doi.org/10.1086/296071",
    "PP06": "Pan, Poteshman (2006), The Information in Option Volume for Future Stock Prices, Rev. Financial Studies "
    "19(3), https://doi.org/10.1093/rfs/hhj024",
    "QS89": "Quong, Soudack (1989), Volume-Weighted RSI: Money Flow, Technical Analysis of Stocks & Commodities",
    "ST86": "Steidlmayer, Koy (1986), Markets and Market Logic (volume profile, 70 % value area)",
    "TSE": "Tokyo Stock Exchange, published trading hours",
    "WI78": "Wilder (1978), New Concepts in Technical Trading Systems (RSI, ATR, ADX)",
    "WR79": "Williams (1979), How I Made One Million Dollars (%R)",
    "WU85": "Williams (1985), The Ultimate Oscillator, Technical Analysis of Stocks & Commodities",
    "XZZ10": "Xing, Zhang, Zhao (2010), What Does the Individual Option Volatility Smirk Tell Us?, J. Financial and "
    "Quantitative Analysis 45(3)",
}
