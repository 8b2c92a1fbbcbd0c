"""How every source is asked: what its answers mean, how often it may be asked, and which hosts are asked at all.

Not here: the clients themselves (``tardis.py``, ``exchanges.py``, ``web_apis.py``, ``crypto_lake.py``).
"""

FINAL_STATES = {401: "not_licensed", 403: "not_licensed", 404: "missing", 451: "not_licensed"}
"""Answers that asking again does not change, and what they say of the day."""

NOT_SERVED = (
    "the sandbox market is not being served: start Dagster with `crpbot dev`, or run `crpbot sandbox serve` and set "
    "CRPBOT_SANDBOX_URL to the address it prints"
)


class SourceError(RuntimeError):
    """A source cannot be asked, or did not answer in time; the message says what to do."""
