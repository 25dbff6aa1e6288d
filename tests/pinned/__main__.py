"""Store the pinned workspaces as they are made by this tree: `python -m tests.pinned [NAME …]`.

To be done where numbers are meant to change, or a library of the constraints gives others, and looked at before it is
committed: the first run of the tests after that compares with what was stored.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.pinned.making import WORKSPACES
from tests.pinned.stored import store

with tempfile.TemporaryDirectory() as scratch:
    for name in sys.argv[1:] or WORKSPACES:
        print(store(name, Path(scratch)))
