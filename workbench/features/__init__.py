"""Features: functions that compute columns for every row, cached by their code and data; target encodings per fold.

Input are ``features.py`` and the tables, output are blocks of columns in the cache.

- `definition`: the decorator `feature`
- `build`, `evaluate`: compute and cache the blocks
- `code_keys`: cache keys of the code that a function depends on
- `recipes`: functions for users; a new recipe is a function there with its own version
- `encodings`: target encodings, learned within folds
- `auto`: columns that need no code
- `matrix`: the columns that a model is trained on
"""

from workbench.data.competition import ROW
from workbench.features.block_keys import AUTO, is_built_in
from workbench.features.build import Blocks, load_features
from workbench.features.code_keys import (
    code_key,
    code_key_of,
    package_version,
    recipe_versions,
    recorded_code_keys,
    referenced_code_key,
)
from workbench.features.code_modules import code_files, code_files_of
from workbench.features.definition import Feature, FoldFeature, feature
from workbench.features.encoded import EncodedColumn, merged_in_float32
from workbench.features.encodings import (
    Split,
    TargetEncoding,
    target_count,
    target_mean,
    target_stats,
    weight_of_evidence,
)
from workbench.features.groupcodes import group_codes
from workbench.features.matrix import (
    CHUNK_ROWS,
    FeatureMatrix,
    FoldColumns,
    FoldFrames,
    MatrixSource,
    UnseenCategories,
    build_matrix,
    columns_of,
    missing_share,
    sparse_codes,
    unseen_categories,
)
from workbench.features.overview import (
    CachedBlock,
    FeatureSummary,
    as_mermaid,
    as_svg,
    cached_blocks,
    summarise_features,
)
from workbench.features.recipes import (
    counts,
    crosses,
    cyclic_dates,
    date_parts,
    differences,
    distinct_so_far,
    expanding,
    frequencies,
    group_position,
    group_stats,
    hashed_ngrams,
    holiday_distances,
    lags,
    null_counts,
    ordinal_codes,
    rare_grouped,
    rolling,
    session_position,
    sessions,
    since_last,
    svd_embeddings,
    text_embeddings,
    text_forms,
    together,
    top_pivot,
    until_next,
)
from workbench.features.unused_columns import excluded_column_lines

__all__ = [
    "AUTO",
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
    "FoldFrames",
    "MatrixSource",
    "Split",
    "TargetEncoding",
    "UnseenCategories",
    "as_mermaid",
    "as_svg",
    "build_matrix",
    "cached_blocks",
    "code_files",
    "code_files_of",
    "code_key",
    "code_key_of",
    "columns_of",
    "counts",
    "crosses",
    "cyclic_dates",
    "date_parts",
    "differences",
    "distinct_so_far",
    "excluded_column_lines",
    "expanding",
    "feature",
    "frequencies",
    "group_codes",
    "group_position",
    "group_stats",
    "hashed_ngrams",
    "holiday_distances",
    "is_built_in",
    "lags",
    "load_features",
    "merged_in_float32",
    "missing_share",
    "null_counts",
    "ordinal_codes",
    "package_version",
    "rare_grouped",
    "recipe_versions",
    "recorded_code_keys",
    "referenced_code_key",
    "rolling",
    "session_position",
    "sessions",
    "since_last",
    "sparse_codes",
    "summarise_features",
    "svd_embeddings",
    "target_count",
    "target_mean",
    "target_stats",
    "text_embeddings",
    "text_forms",
    "together",
    "top_pivot",
    "unseen_categories",
    "until_next",
    "weight_of_evidence",
]
