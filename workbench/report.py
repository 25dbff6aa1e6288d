"""The name under which the notebooks `report` and `eda`, and copies of them, know `workbench.review.report`."""

import sys

from workbench.review import report

sys.modules[__name__] = report
