"""Messages to people, through Apprise: Telegram, e-mail, webhooks and a hundred others, each a URL.

Without a URL a message goes to the log ``crpbot.alerts`` and as one JSON line to a file. A URL holds secrets: it is
never logged, shown or kept; errors name its kind. Not here: what is worth a message (``sensors/alerts.py``).
Service URLs: https://github.com/caronc/apprise/wiki
"""

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import SecretStr

LOG = logging.getLogger("crpbot.alerts")
LOG_LEVELS = {"error": logging.ERROR, "warning": logging.WARNING, "recovered": logging.INFO, "info": logging.INFO}
NOTIFY_TYPES = {"error": "failure", "warning": "warning", "recovered": "success", "info": "info"}
TIMEOUT_S = 10.0


class NotDelivered(RuntimeError):
    """A message did not reach a service; the text names the kind of its URL, never the URL."""


@dataclass(frozen=True)
class Alerts:
    """Where messages go: every one of ``urls``, or the log and ``log_file`` when there is none."""

    urls: Sequence[SecretStr | str] = field(repr=False)
    log_file: str

    def send(self, title: str, body: str, severity: str) -> None:
        """Deliver one message everywhere; ``severity`` is error, warning, recovered or info.

        Raises
        ------
        NotDelivered
            A service did not take it; the others were asked all the same.
        """
        if severity not in NOTIFY_TYPES:
            raise ValueError(f"severity {severity!r} is none of {', '.join(NOTIFY_TYPES)}")
        if not self.urls:
            self._write(title, body, severity)
            return
        failed = [_kind(url) for url in self.urls if not _notify(url, title, body, severity)]
        if failed:
            raise NotDelivered(
                f"{', '.join(failed)} did not take the message {title!r}: check the service and its URL in "
                "CRPBOT_ALERT_URLS"
            )

    def channels(self) -> dict[str, "Alerts"]:
        """Return the single destinations by a name that is safe to store: kind and digest of the URL."""
        if not self.urls:
            return {"log": self}
        return {f"{_kind(u)}-{_digest(u)}": Alerts([u], self.log_file) for u in self.urls}

    def _write(self, title: str, body: str, severity: str) -> None:
        LOG.log(LOG_LEVELS[severity], "%s\n%s", title, body)
        path = Path(self.log_file)
        path.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps({"severity": severity, "title": title, "body": body}, ensure_ascii=False)
        with path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")  # one write: lines of two processes do not mix


def send_test(alerts: Alerts) -> None:
    """Send a message that says that messages arrive.

    Raises
    ------
    NotDelivered
        A service did not take it.
    """
    alerts.send("crpbot: a test of the alerts", "Failed runs and failed checks will be reported here.", "info")


def _notify(url: SecretStr | str, title: str, body: str, severity: str) -> bool:
    import apprise

    # Its log lines name hosts and, at debug level, whole URLs.
    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
    service = apprise.Apprise()
    if not service.add(_revealed(url)):
        raise NotDelivered(f"{_kind(url)}: Apprise does not understand this URL of CRPBOT_ALERT_URLS")
    kind = apprise.NotifyType(NOTIFY_TYPES[severity])
    return bool(service.notify(body=body, title=title, notify_type=kind, body_format="text", timeout=TIMEOUT_S))


def _revealed(url: SecretStr | str) -> str:
    return url.get_secret_value() if isinstance(url, SecretStr) else url


def _kind(url: SecretStr | str) -> str:
    kind, found, _ = _revealed(url).partition("://")
    return kind if found and kind.isalnum() else "a URL without a service"


def _digest(url: SecretStr | str) -> str:
    return hashlib.sha256(_revealed(url).encode()).hexdigest()[:12]
