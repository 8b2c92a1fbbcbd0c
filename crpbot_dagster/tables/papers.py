"""The papers behind the features: what the codes in a column's ``source`` stand for. ``ours`` and ``–`` have none."""

PAPERS = {
    "AM02": "Amihud (2002), Illiquidity and Stock Returns, J. Financial Markets 5(1), "
    "https://doi.org/10.1016/S1386-4181(01)00024-6",
    "AP05": "Appel (2005), Technical Analysis: Power Tools for Active Investors (MACD)",
    "BLN88": "Berkowitz, Logue, Noser (1988), The Total Cost of Transactions on the NYSE, J. Finance 43(1) (VWAP)",
    "BO01": "Bollinger (2001), Bollinger on Bollinger Bands",
    "CHW09": "Cao, Hansch, Wang (2009), The Information Content of an Open Limit-Order Book, J. Futures Markets 29(1), "
    "https://doi.org/10.1002/fut.20334",
    "CKS14": "Cont, Kukanov, Stoikov (2014), The Price Impact of Order Book Events, J. Financial Econometrics 12(1), "
    "https://doi.org/10.1093/jjfinec/nbt003",
    "GB16": "Gould, Bonart (2016), Queue Imbalance as a One-Tick-Ahead Price Predictor, Market Microstructure and "
    "Liquidity 2(2), https://arxiv.org/abs/1512.03492",
    "HS96": "Huang, Stoll (1996), Dealer versus Auction Markets, J. Financial Economics 41(3), "
    "https://doi.org/10.1016/0304-405X(95)00867-E",
    "KY85": "Kyle (1985), Continuous Auctions and Insider Trading, Econometrica 53(6), https://doi.org/10.2307/1913210",
    "WI78": "Wilder (1978), New Concepts in Technical Trading Systems (RSI, ATR, ADX)",
}
