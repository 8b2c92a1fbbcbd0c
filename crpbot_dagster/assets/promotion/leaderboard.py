"""The leaderboard as a page of the UI: the newest one of every symbol, as one markdown table.

Not here: who ranks where (``dbt_like_sql/promotion/leaderboard.sql``) and why (``gates.py``).
"""

from collections.abc import Sequence

import polars as pl

HEAD = (
    "| symbol | verdict day | # | family | accuracy | 95 % interval | Brier skill | ECE at most | n_eff | verdict | |\n"
    "|---|---|---:|---|---:|---|---:|---:|---:|---|---|"
)


def leaderboard_markdown(boards: Sequence[pl.DataFrame], reports_url: str) -> str:
    """Return the leaderboards, one symbol's rows after the other's, with a link to each report.

    Parameters
    ----------
    boards : rows of ``promotion/leaderboard``, one frame per symbol, in the order shown
    reports_url : where the reports are served
    """
    rows = pl.concat([board.sort("rank_n") for board in boards]).iter_rows(named=True)
    return "\n".join([HEAD, *(_line(row, reports_url) for row in rows)])


def _line(row: dict[str, object], reports_url: str) -> str:
    first = row["rank_n"] == 1
    link = f"[report]({reports_url}/{row['symbol']}/{row['day']}.html)" if first else ""
    ends = (row["accuracy_low_frac"], row["accuracy_high_frac"])
    interval = "unknown" if None in ends else " to ".join(_percent(end) for end in ends)
    numbers = (_number(row[name], digits) for name, digits in (("brier_skill", 4), ("ece_upper", 4), ("n_eff", 0)))
    verdict = f"**{row['verdict']}**" if first else row["verdict"]
    cells = (row["symbol"], row["day"], row["rank_n"], row["family"], _percent(row["accuracy_frac"]), interval)
    return f"| {' | '.join(str(c) for c in (*cells, *numbers, verdict, link))} |"


def _percent(value: object) -> str:
    return f"{100 * value:.2f} %" if isinstance(value, float) else "unknown"


def _number(value: object, digits: int) -> str:
    return f"{value:,.{digits}f}" if isinstance(value, float) else "unknown"
