"""Code competitions: a finished run packed for a kernel without network, rehearsed as Kaggle runs it, and pushed.

Input is a run. Output is a bundle with everything that it needs (`build`, `wheels`), a rehearsal in a sandbox like
Kaggle's (`rehearse`, `hidden_test_sets`), and a version of a kernel on the platform (`push`).
"""

from workbench.kernels.build import KERNEL_PYTHON, BuiltKernel, build
from workbench.kernels.evaluation_server import check_no_server
from workbench.kernels.push import push
from workbench.kernels.push_kernel import Machine
from workbench.kernels.pushed_kernel import PushedKernel, pushed
from workbench.kernels.rehearse import RehearsalResult, rehearse

__all__ = [
    "KERNEL_PYTHON",
    "BuiltKernel",
    "Machine",
    "PushedKernel",
    "RehearsalResult",
    "build",
    "check_no_server",
    "push",
    "pushed",
    "rehearse",
]
