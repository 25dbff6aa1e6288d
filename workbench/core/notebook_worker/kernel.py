"""The kernel of a notebook, started so that nothing in its folder takes the place of a library's module.

``python -m ipykernel_launcher`` looks for modules in the folder that it stands in before it takes that folder from the
path: a ``types.py`` or ``pathlib.py`` beside the notebook ends it. Started by the path of this file, it never does. The
notebook's own imports find what is beside it all the same: IPython puts the folder before the installed packages.
"""

import sys

if __name__ == "__main__":
    if not getattr(sys.flags, "safe_path", False):
        del sys.path[0]  # the folder of this file

    from ipykernel import kernelapp

    kernelapp.launch_new_instance()
