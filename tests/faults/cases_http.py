"""Bad answers of the network: bans, storms, slow and cut bodies, redirects, full disks, keys in errors (57-63, 76, 80).

The interface, for whoever adds cases:

``CASES`` is a tuple of ``Case`` (``faults/case.py``), in the order of their numbers. ``see`` is a function
``(folder: Path) -> str``: it runs the platform's own code on the bad input inside ``folder`` (empty, removed later)
and returns what came of it; the test wants exactly ``ours``. Keep the words short, without times, ports or paths that
change from run to run, because they are written to docs/faults.md. The words in use::

    file refused: gz_truncated        DamagedFile with this code: the run fails, nothing is written, the day stays
    day refused: <rule>               the door or a blocking check: the run fails, nothing is written, the day stays
    row refused: <reason>             the row lies in raw/quarantine, the others are kept
    accepted                          kept as sent ("accepted, flag clock_skew": a check warns)
    repaired: <how>                   a deterministic repair, counted in the run's metadata
    state <state>                     the day is empty, partial, missing, not_licensed
    request refused: <why>            before any I/O
    asked again: <how often, how>     bounded retries, then SourceError

A case that is proved by a test elsewhere has ``where="tests/resources/test_x.py::test_y"`` (the test wants that
function to exist), one that comes with a later stage ``where="later: trading"``, both without ``see``. pytest's
fixtures are not at hand: use ``pytest.MonkeyPatch.context()`` for settings, and the sandbox's ``serve`` for a server.
``python tests/faults/test_faults.py`` writes docs/faults.md anew.
"""

from faults.case import Case

CASES: tuple[Case, ...] = ()
