"""Checks of the data: drift, leaks, duplicates, order, and features that read the future."""

from workbench.analysis.checks.check import check_data
from workbench.analysis.checks.data import time_columns
from workbench.analysis.checks.finding import CheckReport, DataFinding
from workbench.analysis.checks.future import Difference, TimeCheck, check_time, leak_error

__all__ = [
    "CheckReport",
    "DataFinding",
    "Difference",
    "TimeCheck",
    "check_data",
    "check_time",
    "leak_error",
    "time_columns",
]
