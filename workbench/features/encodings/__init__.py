"""Target encodings: statistics of the target by group, in which no row uses its own label."""

from workbench.features.encodings.encoding import (
    TargetEncoding,
    target_count,
    target_mean,
    target_stats,
    weight_of_evidence,
)
from workbench.features.encodings.learned import Learned, TargetLike
from workbench.features.encodings.split import Split

__all__ = [
    "Learned",
    "Split",
    "TargetEncoding",
    "TargetLike",
    "target_count",
    "target_mean",
    "target_stats",
    "weight_of_evidence",
]
