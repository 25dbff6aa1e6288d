"""Checks that save weeks: drift, leaks, repeats, order, and features that read the future."""

from workbench.analysis.checks.check import check_data
from workbench.analysis.checks.data import time_columns
from workbench.analysis.checks.finding import Finding, Report
from workbench.analysis.checks.future import Difference, TimeCheck, check_time, leak_error

__all__ = ["Difference", "Finding", "Report", "TimeCheck", "check_data", "check_time", "leak_error", "time_columns"]
