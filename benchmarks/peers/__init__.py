"""Every server hurt in the same way, and what is left of it.

    pip install -e '.[test]' -r benchmarks/peers/requirements.lock
    apt-get install tini
    python -m benchmarks.peers

As root, since processes are counted in PID namespaces: with what the tests of the package use.
"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "tests"))
