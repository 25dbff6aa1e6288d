"""Everything that is loaded, out of the garbage collector's sight: imported last, by a process that forks.

A child that looks for garbage writes to each object that it has, and so gets a copy of all memory: 0.2 s of the processor.
"""

from __future__ import annotations

import gc

gc.collect()
gc.freeze()
