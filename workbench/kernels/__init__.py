"""Code competitions: a finished run packed for a kernel without network, and rehearsed as Kaggle would run it."""

from workbench.kernels.build import KERNEL_PYTHON, BuiltKernel, build
from workbench.kernels.rehearse import Rehearsed, rehearse

__all__ = ["KERNEL_PYTHON", "BuiltKernel", "Rehearsed", "build", "rehearse"]
