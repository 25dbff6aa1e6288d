"""Features: named functions that give columns for every row, built once, checked, and fold-safe where they learn."""

from workbench.competition import ROW
from workbench.features.build import Blocks, load_features
from workbench.features.definition import Feature, FoldFeature, code_key, feature
from workbench.features.encodings import Split, TargetMean, target_mean
from workbench.features.matrix import FeatureMatrix, FoldColumns, build_matrix

__all__ = [
    "ROW",
    "Blocks",
    "Feature",
    "FeatureMatrix",
    "FoldColumns",
    "FoldFeature",
    "Split",
    "TargetMean",
    "build_matrix",
    "code_key",
    "feature",
    "load_features",
    "target_mean",
]
