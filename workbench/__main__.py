"""`python -m workbench`: the same as `wb`."""

import os
import sys

if __name__ == "__main__":
    # Python puts the folder that one stands in before its own library: a ``random.py`` there is not ours to run.
    if not sys.flags.safe_path and sys.path[:1] == [os.getcwd()]:  # noqa: PTH109 pathlib is not imported yet
        del sys.path[0]
    from workbench.cli import main

    main()
