"""One bad input, the result it must have, and how to see what the platform makes of it.

Not here: the cases (``cases_*.py``, one module per area, each with ``CASES``), the document and the tests over all of
them (``test_faults.py``).
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Case:
    """One bad input of docs/faults.md; a number may have several, told apart by ``bad``.

    ``see`` feeds the bad input to the platform's own code and says in the words of ``ours`` what came of it; it gets
    an empty folder, cleans up what it started, and raises only when the platform let something through that no word
    of ours describes. A case that other tests prove, or that a later stage brings, has none and says so in ``where``.
    """

    number: int  # 1-80
    bad: str  # the bad input
    expected: str  # the result it must have: QF, QR, FIX, RETRY, REJ, ACC, HALT, and what goes with it
    ours: str  # what that is in this platform: see RESULTS in test_faults.py
    see: Callable[[Path], str] | None = None
    where: str = ""
