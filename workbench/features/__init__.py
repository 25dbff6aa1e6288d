"""Features: named functions that give columns for every row, built once, checked, and fold-safe where they learn."""

from workbench.competition import ROW
from workbench.features.build import Blocks, load_features
from workbench.features.definition import Feature, FoldFeature, code_key, feature
from workbench.features.encoded import EncodedColumn
from workbench.features.encodings import Split, TargetMean, target_mean
from workbench.features.matrix import CHUNK_ROWS, FeatureMatrix, FoldColumns, MatrixSource, Unseen, build_matrix
from workbench.features.overview import (
    CachedBlock,
    FeatureSummary,
    as_mermaid,
    as_svg,
    cached_blocks,
    summarise_features,
)

__all__ = [
    "CHUNK_ROWS",
    "ROW",
    "Blocks",
    "CachedBlock",
    "EncodedColumn",
    "Feature",
    "FeatureMatrix",
    "FeatureSummary",
    "FoldColumns",
    "FoldFeature",
    "MatrixSource",
    "Split",
    "TargetMean",
    "Unseen",
    "as_mermaid",
    "as_svg",
    "build_matrix",
    "cached_blocks",
    "code_key",
    "feature",
    "load_features",
    "summarise_features",
    "target_mean",
]
