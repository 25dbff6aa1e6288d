"""Start ipykernel so that modules next to the notebook can't shadow those of the standard library.

``python -m ipykernel_launcher`` imports from the working directory before it removes that from ``sys.path``, so that a
``types.py`` or ``pathlib.py`` next to the notebook breaks it. A script that is started by its path does not. Imports in
the notebook still find modules next to it, as IPython adds the folder to ``sys.path``.
"""

import sys

if __name__ == "__main__":
    if not getattr(sys.flags, "safe_path", False):
        del sys.path[0]  # the folder of this file

    from ipykernel import kernelapp

    kernelapp.launch_new_instance()
