"""Features: named functions that give columns for every row, built once, checked, and fold-safe where they learn."""

from workbench.competition import ROW
from workbench.features.build import Blocks, load_features
from workbench.features.definition import Feature, FoldFeature, code_key, feature
from workbench.features.encodings import (
    Split,
    TargetEncoding,
    target_count,
    target_mean,
    target_stats,
    weight_of_evidence,
)
from workbench.features.groupcodes import group_codes
from workbench.features.matrix import FeatureMatrix, FoldColumns, FoldFrames, build_matrix
from workbench.features.overview import (
    CachedBlock,
    FeatureSummary,
    as_mermaid,
    as_svg,
    cached_blocks,
    summarise_features,
)

__all__ = [
    "ROW",
    "Blocks",
    "CachedBlock",
    "Feature",
    "FeatureMatrix",
    "FeatureSummary",
    "FoldColumns",
    "FoldFeature",
    "FoldFrames",
    "Split",
    "TargetEncoding",
    "as_mermaid",
    "as_svg",
    "build_matrix",
    "cached_blocks",
    "code_key",
    "feature",
    "group_codes",
    "load_features",
    "summarise_features",
    "target_count",
    "target_mean",
    "target_stats",
    "weight_of_evidence",
]
