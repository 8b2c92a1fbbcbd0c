"""The rules of asking that the fault corpus does not name: budgets and quotas, final answers, the adapter, no secrets."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import requests
from faults.cases_http import asked, refusal
from faults.server import NOON, FakeTime, answer, host, script

from crpbot_dagster.resources import deadline, politeness
from crpbot_dagster.resources.deadline import within
from crpbot_dagster.resources.hosts import SPACING, Host
from crpbot_dagster.resources.politeness import Politeness, SourceError, redacted, retry_after, without
from crpbot_dagster.resources.web_apis import WebApis
from crpbot_dagster.settings import PROJECT

KEY = "canary-key"


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    made = FakeTime()
    monkeypatch.setattr(politeness, "CLOCK", made.clock)
    return made


@pytest.mark.parametrize("per_second", [0.5, 1, 3, 10])
def test_no_second_has_more_requests_than_its_budget(per_second: float, time: FakeTime) -> None:
    rules = Politeness(per_second={"kraken": per_second})
    moments = []
    for _ in range(40):
        rules.turn("kraken")
        moments.append(time.moment)
    window = max(1.0, 1 / per_second)
    assert max(sum(a <= m < a + window for m in moments) for a in moments) <= max(1, per_second)
    assert moments[-1] - moments[0] == pytest.approx(39 * SPACING / per_second, rel=0.02), "and hardly fewer"


def test_a_daily_quota_outlives_the_process_and_says_when_it_ends(tmp_path: Path, time: FakeTime) -> None:
    def rules() -> Politeness:
        return Politeness(state=str(tmp_path / "state" / "p.sqlite"), per_second={"fred": 10}, per_day={"fred": 3})

    for _ in range(3):
        rules().turn("fred")
    with pytest.raises(SourceError, match=r"daily quota of 3 requests is spent; .* 2023-11-15 22:13:20 UTC"):
        rules().turn("fred")
    time.moment = NOON + 86_401
    rules().turn("fred")


def test_processes_share_one_budget(tmp_path: Path) -> None:
    program = (
        "from crpbot_dagster.resources.hosts import Host; import math, sys, time\n"
        "moments = []\n"
        "host = Host(sys.argv[1], 'kraken', 100.0, None)\n"
        "for _ in range(20):\n"
        "    while (wait := host.turn(lambda: moments.append(time.time()) or moments[-1]).seconds): time.sleep(wait)\n"
        "    print(math.ceil(moments[-1] * 1000))\n"
    )
    words = [sys.executable, "-c", program, str(tmp_path / "p.sqlite")]
    started = [subprocess.Popen(words, cwd=PROJECT, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    taken = sorted(int(line) for p in started for line in p.communicate(timeout=60)[0].split())
    assert len(taken) == 60 and all(b - a >= 11 for a, b in pairwise(taken))


def test_threads_that_ask_first_together_share_one_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    class SlowHost(Host):
        def __init__(self, *args: Any) -> None:
            made.append(args)
            over.wait(0.05)  # long enough for every thread to ask
            super().__init__(*args)

    over = threading.Event()
    monkeypatch.setattr(politeness, "Host", SlowHost)
    rules = Politeness(state=str(tmp_path / "p.sqlite"), per_second={"kraken": 1_000.0})
    with ThreadPoolExecutor(4) as workers:
        list(workers.map(lambda _: rules.turn("kraken"), range(4)))
    assert len(made) == 1


def test_processes_may_open_a_fresh_state_file_at_one_moment(tmp_path: Path) -> None:
    program = (
        "from crpbot_dagster.resources.hosts import Host; import sys\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "for n in range(60): Host(f'{sys.argv[1]}/{n}.sqlite', 'kraken', 100.0, None)\n"
    )
    with ExitStack() as stack:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        command = [sys.executable, "-c", program, str(tmp_path)]
        openers = [stack.enter_context(subprocess.Popen(command, cwd=PROJECT, **pipes)) for _ in range(4)]
        for opener in openers:
            assert opener.stdout.readline() == "ready\n"
        for opener in openers:
            opener.stdin.write("go\n")
            opener.stdin.flush()
        assert [o.communicate(timeout=60)[1] for o in openers] == [""] * 4


def test_a_source_without_a_budget_waits_for_nothing(time: FakeTime) -> None:
    for _ in range(100):
        Politeness().turn("kraken")
    assert time.slept == []


def test_state_that_cannot_be_kept_refuses_to_ask(tmp_path: Path) -> None:
    broken = tmp_path / "p.sqlite"
    broken.write_bytes(b"no database" * 1_000)
    with pytest.raises(SourceError, match="cannot be kept"):
        Politeness(state=str(broken)).turn("kraken")


@pytest.mark.parametrize(
    ("status", "state", "fix"),
    [
        (401, "not_licensed", "set its key"),
        (403, "not_licensed", "set its key"),
        (404, "missing", "no such symbol or day"),
        (451, "not_licensed", "CRPBOT_PRIMARY"),
    ],
)
def test_final_answers_are_not_asked_again_and_name_the_fix(status: int, state: str, fix: str, tmp_path: Path) -> None:
    with asked(script(answer(status)), tmp_path) as (web, bad, time):
        found = web.get("cryptocompare", "/data", {"api_key": KEY})
        assert found.state == state and fix in found.why and KEY not in found.why + found.url
        assert len(bad.requests) == 1 and time.slept == []


def test_a_key_that_was_refused_is_an_error_without_the_key(tmp_path: Path) -> None:
    with asked(script(answer(401, body=KEY.encode())), tmp_path) as (web, bad, _):
        said = refusal(web.model_copy(update={"cryptocompare_api_key": KEY}), "cryptocompare")
        assert "that one is wrong" in said and KEY not in said and KEY in bad.requests[0]


def test_an_answer_of_no_known_meaning_is_an_error_at_once(tmp_path: Path) -> None:
    with asked(script(answer(400, body=KEY.encode())), tmp_path) as (web, bad, _):
        assert "answered 400" in refusal(web) and len(bad.requests) == 1


def test_a_pause_longer_than_the_total_time_is_named(tmp_path: Path) -> None:
    with asked(script(answer(429, retry_after="3600")), tmp_path) as (web, bad, _):
        assert "asked for a pause; the next request may go out at 2023-11-14 23:13:20 UTC" in refusal(web)
        assert len(bad.requests) == 1
        refusal(web)
        assert len(bad.requests) == 1, "the pause is the host's, not the request's"


def test_429_without_a_word_is_asked_again_with_jitter(tmp_path: Path) -> None:
    with asked(script(*[answer(429)] * 6, answer()), tmp_path, timeout_s=10_000) as (web, bad, time):
        assert web.get("kraken", "/").state == "complete"
        assert len(bad.requests) == 7 and len(set(time.slept)) >= 6


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("Tue, 14 Nov 2023 22:13:50 GMT", 30.0),
        ("Mon, 13 Nov 2023 22:13:50 GMT", 0.0),
        ("soon", None),
        ("-1", None),
        ("", None),
        ("٧", None),
    ],
)
def test_retry_after_is_read_in_both_forms(said: str, seconds: float | None) -> None:
    assert retry_after({"Retry-After": said}, NOON) == seconds
    assert retry_after({}, NOON) is None


def test_a_body_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crpbot_dagster.resources.web_apis.MAX_BODY", 1_000)
    with asked(script(answer(body=b" " * 2_000)), tmp_path) as (web, _, _):
        assert "sends more than" in refusal(web)


def session(url: str, rules: Politeness, **headers: str) -> requests.Session:
    made = requests.Session()
    made.mount("http://", rules.adapter("coingecko", url, 600, headers))
    return made


def test_a_vendor_client_on_requests_keeps_the_rules_by_its_adapter(time: FakeTime) -> None:
    rules = Politeness(per_second={"coingecko": 0.5})
    cut = answer(body=b"{", said_length=2)
    steps = script(answer(429, retry_after="7"), answer(503), cut, answer(302, location="/moved"), answer(body=b"[1]"))
    with host(steps, lambda: time.moment) as bad, session(bad.url, rules, **{"x-cg-demo-api-key": KEY}) as client:
        assert client.get(f"{bad.url}/ping").json() == [1]
        gaps = [b - a for a, b in pairwise(bad.moments)]
        assert len(gaps) == 4 and gaps[0] >= 7 and min(gaps) >= 2 * SPACING
        assert all(KEY in r and KEY not in r.splitlines()[0] for r in bad.requests)


def test_the_adapter_gives_up_with_an_error_of_ours_that_holds_no_key(time: FakeTime) -> None:
    with (
        host(script(answer(418, body=KEY.encode()))) as bad,
        session(bad.url, Politeness(), authorization=KEY) as client,
        pytest.raises(SourceError, match="has banned this address") as said,
    ):
        client.get(f"{bad.url}/ping", params={"api_key": KEY})
    assert KEY not in str(said.value)
    with (
        host(script(answer(302, location="http://169.254.169.254/"))) as bad,
        session(bad.url, Politeness()) as client,
        pytest.raises(SourceError, match="not its own address"),
    ):
        client.get(f"{bad.url}/ping")


def test_the_adapter_hands_final_answers_to_its_client(time: FakeTime) -> None:
    with host(script(answer(404))) as bad, session(bad.url, Politeness()) as client:
        assert client.get(f"{bad.url}/ping").status_code == 404 and len(bad.requests) == 1


def test_the_adapter_ends_a_request_that_does_not(monkeypatch: pytest.MonkeyPatch, time: FakeTime) -> None:
    from faults.cases_http import SLOW_HEAD

    monkeypatch.setattr(politeness, "ATTEMPT_S", 0.2)
    with (
        host(script(SLOW_HEAD)) as bad,
        session(bad.url, Politeness()) as client,
        pytest.raises(SourceError, match="too slow; asked 2 times"),
    ):
        client.get(f"{bad.url}/ping")


def test_what_is_secret_in_an_address_or_a_text_is_masked() -> None:
    url = f"https://me:{KEY}@api.example/a?x_cg_demo_api_key={KEY}&auth_token={KEY}&from=1&X-Amz-Signature={KEY}"
    assert redacted(url) == ("https://api.example/a?x_cg_demo_api_key=***&auth_token=***&from=1&X-Amz-Signature=***")
    assert without(f"bad {KEY}", KEY, "") == "bad ***"


def test_a_total_time_ends_any_work_and_the_watch_ends_it_sooner(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    monkeypatch.setattr(deadline, "WATCH_S", 0.01)
    never = threading.Event()
    assert within(5, lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        within(5, lambda: 1 / 0)
    with pytest.raises(TimeoutError):
        within(0.05, never.wait)

    def watch() -> None:
        raise OSError("full")

    with pytest.raises(OSError, match="full"):
        within(60, never.wait, watch)
    never.set()


def test_a_source_that_is_not_served_says_what_to_do() -> None:
    with pytest.raises(SourceError, match="crpbot sandbox serve"):
        WebApis(endpoints={}, timeout_s=1).get("fred", "/")
