"""Bad answers of the network: bans, storms, slow and cut bodies, redirects, full disks, keys in errors (57-63, 76, 80).

The platform's own clients against a real socket; time is a clock that jumps when somebody sleeps. Not here: the host
that misbehaves (``server.py``), how the results are written down (``test_faults.py``).
"""

import errno
import resource
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
from faults.case import Case
from faults.server import Answer, FakeTime, Host, Script, answer, host, script
from resources import landing

from crpbot_dagster.resources import politeness
from crpbot_dagster.resources.hosts import OPEN_AFTER
from crpbot_dagster.resources.politeness import Politeness, SourceError
from crpbot_dagster.resources.web_apis import WebApis
from crpbot_dagster.sandbox.market import MarketSpec
from crpbot_dagster.tables import TABLES

STORM_S = 1_800.0
REAL_S = 0.3  # of a test's own patience with a silent line
NO_ROOM = 100_000  # bytes a file may have when the disk is "full"


@contextmanager
def asked(
    answers: Script, folder: Path, per_second: float = 1_000.0, timeout_s: float = 600.0
) -> Iterator[tuple[WebApis, Host, FakeTime]]:
    """The httpx client in front of a host, in a time of its own; ``kraken`` asks for no key, ``fred`` is sound."""
    time = FakeTime()
    with (
        pytest.MonkeyPatch.context() as patch,
        host(answers, lambda: time.moment) as bad,
        host(script(answer())) as sound,
    ):
        patch.setattr(politeness, "CLOCK", time.clock)
        rules = Politeness(
            state=str(folder / "politeness.sqlite"),
            per_second=dict.fromkeys(("kraken", "cryptocompare", "fred"), per_second),
            keyless=["kraken", "fred"],
        )
        endpoints = {"kraken": bad.url, "cryptocompare": bad.url, "fred": sound.url}
        yield WebApis(endpoints=endpoints, timeout_s=timeout_s, politeness=rules), bad, time


def refusal(web: WebApis, source: str = "kraken") -> str:
    with pytest.raises(SourceError) as said:
        web.get(source, "/")
    return str(said.value)


def waits_as_told(told: Callable[[float], str], folder: Path) -> str:
    """429 fifty times, then an answer."""

    def answers(n: int, moment: float) -> Answer:
        return answer(429, retry_after=told(moment)) if n < 50 else answer()

    with asked(answers, folder, per_second=1.0) as (web, bad, _):
        assert web.get("kraken", "/").state == "complete"
    gaps = [b - a for a, b in pairwise(bad.moments)]
    assert len(gaps) == 50 and min(gaps) >= 7
    return "asked again: 50 times, at least 7 s apart, until it answers"


def http_date(moment: float) -> str:
    return format_datetime(datetime.fromtimestamp(moment, UTC) + timedelta(seconds=8), usegmt=True)


def is_banned(status: int, folder: Path) -> str:
    with asked(script(answer(status), answer()), folder) as (web, bad, time):
        assert "has banned this address" in refusal(web)
        # Another process reads it from the file that all share.
        other = web.model_copy(update={"politeness": web.politeness.model_copy()})
        assert "a ban; the next request may go out at" in refusal(other)
        assert len(bad.requests) == 1 and web.get("fred", "/").state == "complete"
        time.moment += 900
        assert web.get("kraken", "/").state == "complete"
    return "request refused: the host is left alone for 15 minutes, the others go on"


def storm(folder: Path) -> str:
    """Half an hour of 500, 502 and 503 against callers that never give up."""

    def answers(n: int, moment: float) -> Answer:
        return answer((500, 502, 503)[n % 3]) if moment < began + STORM_S else answer()

    with asked(answers, folder) as (web, bad, time):
        began, refused = time.moment, []
        while True:
            try:
                web.get("kraken", "/")
                break
            except SourceError as error:
                refused.append(str(error))
                time.moment += 1
        assert len(refused) >= 3 and all("answered 50" in r or "in a row" in r for r in refused)
        calm = time.moment
        for _ in range(5):
            web.get("kraken", "/")
        assert calm >= began + STORM_S and time.moment < calm + 1, "the breaker is shut again"
        assert len({round(s, 3) for s in time.slept}) > 5, "jitter"
    stormy = [m for m in bad.moments if m < began + STORM_S][OPEN_AFTER:]
    assert max(sum(a <= m < a + 60 for m in stormy) for a in stormy) <= 2
    return "asked again: with jitter, after 5 failures at most twice a minute, until it answers"


def never_ends(bad_answer: Answer, folder: Path) -> str:
    with (
        pytest.MonkeyPatch.context() as patch,
        asked(script(bad_answer), folder) as (web, bad, _),
    ):
        patch.setattr(politeness, "ATTEMPT_S", REAL_S)
        assert "was too slow; asked 2 times" in refusal(web)
    assert len(bad.requests) == 2
    assert politeness.SLOW * politeness.ATTEMPT_S <= 120
    return "asked again: once, then SourceError; the worker is free within 2 minutes"


def falls_silent(folder: Path) -> str:
    silent = Answer(answer(body=b"{}", said_length=9).raw, hangs=True)
    with (
        pytest.MonkeyPatch.context() as patch,
        asked(script(silent), folder) as (web, bad, _),
    ):
        patch.setattr("crpbot_dagster.resources.web_apis.IDLE_S", REAL_S)
        assert "was too slow; asked 2 times" in refusal(web)
    assert len(bad.requests) == 2 and politeness.IDLE_S <= politeness.ATTEMPT_S
    return "asked again: once, then SourceError; the worker is free within 2 minutes"


def is_cut(folder: Path) -> str:
    cut, whole = answer(body=b'{"a": 1', said_length=8), answer(body=b'{"a": 1}')
    with asked(script(cut, cut, whole), folder) as (web, bad, _):
        assert web.get("kraken", "/").body == b'{"a": 1}'
    assert len(bad.requests) == 3
    return "asked again: until the body is whole"


def leads_away(location: str, folder: Path) -> str:
    with asked(script(answer(302, location=location)), folder) as (web, bad, _):
        assert "is not its own address: refused" in refusal(web) and len(bad.requests) == 1
    return "request refused: a redirect to another host"


def own_redirect(folder: Path) -> str:
    with asked(script(answer(302, location="/moved"), answer()), folder) as (web, bad, _):
        assert web.get("kraken", "/").state == "complete" and "GET /moved" in bad.requests[1]
    return "accepted"


def resolves_inside(address: str, folder: Path) -> str:
    def resolved(*_: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 443))]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(politeness.socket, "getaddrinfo", resolved)
        web = WebApis(endpoints={"kraken": "https://api.kraken.com"}, timeout_s=5)
        assert "inside this network: refused" in refusal(web)
    return "request refused: the name resolves to an address of the own network"


def certificate(folder: Path) -> ssl.SSLContext:
    """A certificate that ended long ago, signed by itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    begin = datetime(2020, 1, 1, tzinfo=UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    dated = made.not_valid_before(begin).not_valid_after(begin + timedelta(days=1))
    signed = dated.sign(key, hashes.SHA256())
    pem = folder / "expired.pem"
    plain = serialization.NoEncryption()
    pem.write_bytes(
        signed.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context


def expired(folder: Path) -> str:
    with host(script(answer()), tls=certificate(folder)) as bad:
        assert "certificate is not trusted" in refusal(WebApis(endpoints={"kraken": bad.url}, timeout_s=5))
        assert bad.requests == [], "nothing went over the line that is not trusted"
    return "request refused: the certificate is not trusted"


def no_tls(folder: Path) -> str:
    with host(script(answer())) as bad:
        web = WebApis(endpoints={"kraken": bad.url.replace("http:", "https:")}, timeout_s=5)
        assert "certificate is not trusted" in refusal(web)
        assert not any("HTTP" in r for r in bad.requests)
    return "request refused: the certificate is not trusted"


@contextmanager
def full_disk() -> Iterator[None]:
    """No file of this process grows beyond ``NO_ROOM``: the writes fail as on a full disk, with another number."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (NO_ROOM, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def no_room_to_download(folder: Path) -> str:
    day = landing.FIRST
    with landing.market() as url:
        lake, tardis = landing.lake_in(folder), landing.tardis_at(url, folder)
        assert landing.materialise(day, lake, tardis).success
        head = lake.version(landing.TABLE)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("crpbot_dagster.resources.tardis.ROOM", 2**60)
            said = landing.failure(landing.materialise(day, lake, tardis))
        assert "the disk is full" in said
        assert lake.version(landing.TABLE) == head and lake.state(landing.TABLE, "BTC-USD", day) == "complete"
        assert not [p for p in (folder / "landing").rglob("*") if p.is_file()]
        assert landing.materialise(day, lake, tardis).success
    return "day refused: the disk is full; the parts are removed, the day stays"


def no_room_in_the_lake(folder: Path) -> str:
    day = landing.FIRST
    with landing.market(spec=MarketSpec(7, 0.3)) as url:
        lake, tardis = landing.lake_in(folder), landing.tardis_at(url, folder)
        lake.publish(landing.TABLE, TABLES[landing.TABLE].empty(), "BTC-USD", day, "partial")
        head = lake.version(landing.TABLE)
        with tardis.fetch("coinbase", "trades", "BTC-USD", day) as fetched, full_disk():
            assert fetched.path is not None and fetched.path.stat().st_size > NO_ROOM
            said = landing.failure(landing.materialise(day, lake, tardis))
        assert f"os error {errno.EFBIG}" in said or "File too large" in said, said
        assert lake.version(landing.TABLE) == head and lake.state(landing.TABLE, "BTC-USD", day) == "partial"
        again = landing.materialise(day, landing.lake_in(folder), tardis)
        assert again.success
    return "day refused: the disk is full; the parts are removed, the day stays"


SLOW_HEAD = Answer(answer().raw, drips=True)
SLOW_BODY = Answer(answer(body=b" " * 10_000).raw, drips=True)

CASES: tuple[Case, ...] = (
    Case(
        57,
        "429 fifty times, Retry-After in seconds",
        "waits ≥ 7 s each; request rate ≤ limit; success when it ends",
        "asked again: 50 times, at least 7 s apart, until it answers",
        partial(waits_as_told, lambda _: "7"),
    ),
    Case(
        57,
        "429 fifty times, Retry-After as an HTTP date",
        "waits ≥ 7 s each; request rate ≤ limit; success when it ends",
        "asked again: 50 times, at least 7 s apart, until it answers",
        partial(waits_as_told, http_date),
    ),
    *(
        Case(
            58,
            bad,
            "stop that host 15 min+, alert, other sources go on",
            "request refused: the host is left alone for 15 minutes, the others go on",
            partial(is_banned, status),
        )
        for status, bad in ((418, "418"), (403, "403 of a source that asks for no key"))
    ),
    Case(
        59,
        "500/502/503 storm, 30 min",
        "RETRY with jitter, breaker opens, ≤ 2 requests/min",
        "asked again: with jitter, after 5 failures at most twice a minute, until it answers",
        storm,
    ),
    *(
        Case(
            60,
            bad,
            "total and idle timeouts; worker freed ≤ 120 s",
            "asked again: once, then SourceError; the worker is free within 2 minutes",
            see,
        )
        for bad, see in (
            ("slow loris, in the headers", partial(never_ends, SLOW_HEAD)),
            ("slow loris, in the body", partial(never_ends, SLOW_BODY)),
            ("hangs after the headers", falls_silent),
        )
    ),
    Case(61, "Content-Length larger than the body", "PARTIAL → RETRY", "asked again: until the body is whole", is_cut),
    *(
        Case(
            62,
            f"redirect to {location}",
            "REJ (host allow-list after every redirect, resolved IP checked)",
            "request refused: a redirect to another host",
            partial(leads_away, location),
        )
        for location in ("http://169.254.169.254/latest/", "file:///etc/passwd", "http://localhost/", "//evil.example/")
    ),
    *(
        Case(
            62,
            f"the source's name resolves to {address}",
            "REJ (host allow-list after every redirect, resolved IP checked)",
            "request refused: the name resolves to an address of the own network",
            partial(resolves_inside, address),
        )
        for address in ("169.254.169.254", "127.0.0.1", "10.0.0.7", "::1")
    ),
    Case(62, "redirect on the source's own host", "ACC", "accepted", own_redirect),
    Case(
        63,
        "expired certificate",
        "REJ; no insecure fallback",
        "request refused: the certificate is not trusted",
        expired,
    ),
    Case(
        63,
        "no TLS where there should be",
        "REJ; no insecure fallback",
        "request refused: the certificate is not trusted",
        no_tls,
    ),
    Case(
        76,
        "disk full while downloading",
        "tmp removed, head unchanged, alert, retry later",
        "day refused: the disk is full; the parts are removed, the day stays",
        no_room_to_download,
    ),
    Case(
        76,
        "disk full while the lake is written",
        "tmp removed, head unchanged, alert, retry later",
        "day refused: the disk is full; the parts are removed, the day stays",
        no_room_in_the_lake,
    ),
    Case(
        77,
        "a landed file corrupted by hand",
        "fsck/sha on first read → QF, refetch",
        "asked again: a file that is not what it was is fetched anew",
        where="tests/resources/test_landing.py::test_a_landed_file_that_was_changed_by_hand_is_fetched_again",
    ),
    Case(
        80,
        "API key in an error URL",
        "redacted in logs, manifest and alert",
        "repaired: the key is masked",
        where="tests/resources/test_secrets.py::test_no_key_is_written_anywhere_by_a_failing_run",
    ),
)
