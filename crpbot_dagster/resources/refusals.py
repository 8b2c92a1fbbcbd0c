"""Refusals that come as HTTP 200: what the body of such an answer means, as the status it should have had.

Not here: what becomes of a status (``politeness.py``), the bodies of real answers (``assets/raw/``).
Source: https://min-api.cryptocompare.com/documentation ("Response": "Error", "Type": 99 is the rate limit).
"""

import json

OK, UNAUTHORISED, NOT_FOUND, TOO_MANY, BAD_GATEWAY = 200, 401, 404, 429, 502
RATE_LIMIT_TYPE = 99
MEANINGS = (
    ("rate limit", TOO_MANY),
    ("market does not exist", NOT_FOUND),
    ("api key", UNAUTHORISED),
    ("auth key", UNAUTHORISED),
)
"""Words of CryptoCompare's message → the status they stand for; the first that is found counts."""


def meant_status(source: str, body: bytes) -> int:
    """Return the status that an answer of 200 stands for: of an unknown refusal, the vendor's fault."""
    if source != "cryptocompare" or b'"Error"' not in body[:1000]:
        return OK
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return OK  # the parser says what is wrong with it
    if not isinstance(said, dict) or said.get("Response") != "Error":
        return OK
    if said.get("Type") == RATE_LIMIT_TYPE:
        return TOO_MANY
    message = str(said.get("Message", "")).lower()
    return next((status for words, status in MEANINGS if words in message), BAD_GATEWAY)
