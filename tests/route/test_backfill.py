"""``crpbot backfill``: what is held whole is skipped, also after a kill; what is not is built again."""

import json
import os
import signal
import time
from collections import Counter
from datetime import date, timedelta
from pathlib import Path

from route.crpbot import START_S, Crpbot

FIRST = date(2023, 11, 10)  # the start day: no warm-up days before it
DAYS = [FIRST + timedelta(days=i) for i in range(4)]
SYMBOL = "BTC-USD"
WORDS = ("backfill", "--symbols", SYMBOL, "--from", str(FIRST), "--to", str(DAYS[-1]))
FIRST_TABLE, LAST_TABLE = "raw/tardis_trades", "features/v5"  # of a day's run
LABELS = "features/labels"


def commits(crpbot: Crpbot, table: str) -> Counter[date]:
    """How often each day was published, by the table's own log."""
    found: Counter[date] = Counter()
    for log in (crpbot.home / "lake" / table / "_delta_log").glob("*.json"):
        for line in log.read_text().splitlines():
            if (txn := json.loads(line).get("txn")) is not None:
                found[date.fromisoformat(txn["appId"].split("|")[1])] += 1
    return found


def test_a_killed_backfill_goes_on_where_it_was(tmp_path: Path) -> None:
    crpbot = Crpbot(tmp_path / "state", {"sandbox_density": "0.1"})
    with crpbot.serving(*WORDS) as running:
        deadline = time.monotonic() + START_S
        while not commits(crpbot, LABELS)[DAYS[0]]:
            assert running.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
    whole, labelled = set(commits(crpbot, LAST_TABLE)), len(commits(crpbot, LABELS))
    assert whole >= set(DAYS[:2]) and DAYS[-1] not in whole, "the kill came too late to prove anything"

    again = crpbot(*WORDS)
    assert again.returncode == 0, again.stderr
    assert f"{labelled} of 4 held" in again.stderr  # whole is: every table of the day, and its labels
    for table in (FIRST_TABLE, LAST_TABLE):
        made = commits(crpbot, table)
        assert set(made) == set(DAYS)
        assert {made[d] for d in whole} == {1}, f"{table}: a day that was complete was made again"
    # The labels of a day need the next one.
    assert set(commits(crpbot, LABELS)) == set(DAYS[:-1])

    before = {t: commits(crpbot, t) for t in (FIRST_TABLE, LAST_TABLE)}
    assert crpbot.json(*WORDS) == {"ok": True, "symbols": {SYMBOL: {"days": 4, "held": 4, "built": 0}}}
    assert {t: commits(crpbot, t) for t in before} == before

    one = ("backfill", "--symbols", SYMBOL, "--from", str(DAYS[1]), "--to", str(DAYS[1]), "--again")
    plan = next(p for p in crpbot.json(*one, "--dry-run")["plan"] if p["symbol"] == SYMBOL)
    assert plan["source_days"] == 2  # the day, and the one it looks back on
    assert crpbot(*one).returncode == 0
    assert commits(crpbot, LAST_TABLE)[DAYS[1]] == 2
