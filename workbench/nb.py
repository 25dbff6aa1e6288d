"""``from workbench import nb``: the name under which notebooks know `workbench.api.nb`."""

import sys

from workbench.api import nb

sys.modules[__name__] = nb
