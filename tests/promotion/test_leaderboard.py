"""The leaderboard: who ranks where, the assertion seen failing, and the page of the UI."""

from datetime import date
from pathlib import Path

import polars as pl
import pytest

from crpbot_dagster.assets.promotion.assets import LEADERBOARD, newest_boards, no_candidate
from crpbot_dagster.assets.promotion.leaderboard import leaderboard_markdown
from crpbot_dagster.resources.lake import IncompleteError, Lake
from crpbot_dagster.resources.warehouse import Warehouse
from crpbot_dagster.tables import TABLES

DAY, OTHER_DAY, MODEL_DAY = date(2024, 1, 31), date(2024, 1, 30), date(2024, 1, 2)
# lower bound, accuracy, verdict
FOUND = {
    "logistic_v4": (0.49, 0.52, "INVESTIGATE"),
    "logistic_v5": (0.66, 0.69, "TUNE"),
    "lstm_v4": (None, 0.51, "INSUFFICIENT"),
    "lstm_v5": (0.64, 0.70, "PROMOTE"),
    "lstm_v6": (None, None, "INSUFFICIENT"),
}


def verdict(symbol: str, day: date, chosen: str) -> pl.DataFrame:
    rows = [
        (symbol, day, f, f == chosen, gate, low, None, "text", 900.0, None, words, "r")
        for f, (low, _, words) in FOUND.items()
        for gate in ("sample", "verdict")
    ]
    return pl.DataFrame(rows, schema=TABLES["promotion/promoted_model"].schema, orient="row")


def metrics(symbol: str, day: date) -> pl.DataFrame:
    rows = [
        (symbol, day, f, MODEL_DAY, name, value, "")
        for f, (low, point, _) in FOUND.items()
        if f != "lstm_v6"
        for name, value in (
            *(("accuracy_frac", point), ("accuracy_low_frac", low), ("accuracy_high_frac", 0.75), ("n", 8640.0)),
            *(("n_eff", 576.9), ("brier_skill", 0.07), ("ece_upper", 0.05), ("guards_n", 0.0)),
        )
    ]
    rows.append((symbol, day, "lstm_v5", MODEL_DAY, "guard_reasons", None, "constant"))
    return pl.DataFrame(rows, schema=TABLES["evaluations/metrics"].schema, orient="row")


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    lake = Lake(url=str(tmp_path_factory.mktemp("lake")), market="sandbox", start_day="2024-01-01")
    for symbol, day, chosen in (
        ("BTC-USD", DAY, "lstm_v5"),
        ("BTC-USD", OTHER_DAY, "logistic_v4"),
        ("ETH-USD", DAY, "lstm_v6"),
    ):
        lake.publish("promotion/promoted_model", verdict(symbol, day, chosen), symbol, day, "complete")
        lake.publish("evaluations/metrics", metrics(symbol, day), symbol, day, "complete")
    lake.publish("promotion/promoted_model", no_candidate("SOL-USD", DAY), "SOL-USD", DAY, "complete")
    lake.publish("evaluations/metrics", metrics("SOL-USD", DAY).clear(), "SOL-USD", DAY, "empty")
    return lake


def board(lake: Lake, symbol: str, day: date) -> pl.DataFrame:
    frame, offending = Warehouse(lake=lake).made(LEADERBOARD, symbol, day)
    assert set(offending.values()) == {0.0}
    return TABLES["promotion/leaderboard"].conform(frame.lazy()).collect()


def test_the_chosen_family_leads_and_the_others_follow_by_their_lower_bound(lake: Lake) -> None:
    rows = board(lake, "BTC-USD", DAY)
    assert rows["family"].to_list() == ["lstm_v5", "logistic_v5", "logistic_v4", "lstm_v4", "lstm_v6"]
    assert rows["rank_n"].to_list() == [1, 2, 3, 4, 5] and rows["is_chosen"].to_list() == [True] + 4 * [False]
    assert rows.row(0, named=True) == {
        "symbol": "BTC-USD", "day": DAY, "rank_n": 1, "family": "lstm_v5", "model_day": MODEL_DAY, "accuracy_frac": 0.70,
        "accuracy_low_frac": 0.64, "accuracy_high_frac": 0.75, "n": 8640.0, "n_eff": 576.9, "brier_skill": 0.07,
        "ece_upper": 0.05, "verdict": "PROMOTE", "is_chosen": True,
    }  # fmt: skip
    assert board(lake, "BTC-USD", OTHER_DAY)["family"][0] == "logistic_v4"
    assert board(lake, "ETH-USD", DAY)["family"][0] == "lstm_v6", "chosen, though nothing is known about it"


def test_a_symbol_without_a_candidate_has_one_row_that_says_so(lake: Lake) -> None:
    rows = board(lake, "SOL-USD", DAY)
    assert rows.select("rank_n", "family", "verdict", "accuracy_frac").rows() == [(1, "none", "INSUFFICIENT", None)]


@pytest.mark.parametrize(
    ("is_chosen", "offending"),
    [
        ([True, False, False, False, False], 0),
        ([False, False, False, False, False], 5),
        ([True, True, False, False, False], 5),
        ([False, True, False, False, False], 2),
    ],
)
def test_the_assertion_sees_a_board_without_one_chosen_family_in_front(
    lake: Lake, is_chosen: list[bool], offending: int
) -> None:
    frame = board(lake, "BTC-USD", DAY).with_columns(pl.Series("is_chosen", is_chosen))
    found = Warehouse(lake=lake).offending(frame, "promotion/leaderboard")
    assert found == {"leaderboard_one_chosen_first": float(offending)}


def test_the_page_shows_the_newest_board_of_every_symbol_that_has_one(lake: Lake) -> None:
    symbols = ("BTC-USD", "ETH-USD", "SOL-USD")
    now = board(lake, "BTC-USD", DAY)
    assert [b["symbol"][0] for b in newest_boards(lake, now, "BTC-USD", DAY, symbols)] == ["BTC-USD"]
    for symbol in ("BTC-USD", "SOL-USD"):
        lake.publish("promotion/leaderboard", board(lake, symbol, DAY), symbol, DAY, "complete")
    past = board(lake, "BTC-USD", OTHER_DAY)
    boards = newest_boards(lake, past, "BTC-USD", OTHER_DAY, symbols)
    assert [(b["symbol"][0], b["day"][0]) for b in boards] == [("BTC-USD", DAY), ("SOL-USD", DAY)]
    lines = leaderboard_markdown(boards, "http://reports").splitlines()
    assert len(lines) == 2 + 5 + 1 and all(line.count("|") == 12 for line in lines)
    assert lines[2] == (
        "| BTC-USD | 2024-01-31 | 1 | lstm_v5 | 70.00 % | 64.00 % to 75.00 % | 0.0700 | 0.0500 | 577 | **PROMOTE** | "
        "[report](http://reports/BTC-USD/2024-01-31.html) |"
    )
    assert "| unknown | unknown | unknown |" in lines[-1] and "**INSUFFICIENT**" in lines[-1]


def test_the_sql_names_what_it_is_made_from() -> None:
    assert LEADERBOARD.inputs == ("evaluations/metrics", "promotion/promoted_model")
    assert LEADERBOARD.lineage["verdict"] == (("promotion/promoted_model", "verdict"),)
    assert ("evaluations/metrics", "value") in LEADERBOARD.lineage["accuracy_frac"]


def test_a_verdict_that_was_never_given_is_an_error(tmp_path: Path) -> None:
    empty = Lake(url=str(tmp_path), market="sandbox", start_day="2024-01-01")
    with pytest.raises(IncompleteError, match="evaluations/metrics of BTC-USD lacks 1 of the 1 days"):
        board(empty, "BTC-USD", DAY)
