"""The speed figures, each beside a peer of the same run: one module per topic, ``python -m benchmarks`` runs them.

Nothing here asserts a time: a machine that is busy makes a slow figure, never a failure.
"""

import os

for name in [n for n in os.environ if n.startswith(("CRPBOT_", "DAGSTER_"))]:
    del os.environ[name]  # a developer's own settings must not decide what is measured
