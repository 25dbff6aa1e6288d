"""Features: named functions that give columns for every row, built once, checked, and fold-safe where they learn."""

from workbench.competition import ROW
from workbench.features.build import Blocks, load_features
from workbench.features.definition import Feature, FoldFeature, code_key, feature
from workbench.features.encodings import Split, TargetMean, target_mean
from workbench.features.matrix import FeatureMatrix, FoldColumns, build_matrix, columns_of
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
    "Split",
    "TargetMean",
    "as_mermaid",
    "as_svg",
    "build_matrix",
    "cached_blocks",
    "code_key",
    "columns_of",
    "feature",
    "load_features",
    "summarise_features",
    "target_mean",
]
