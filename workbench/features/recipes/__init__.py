"""Recipes: functions to call inside ``@feature`` functions.

Each takes `rows`, a LazyFrame with the row key (the input of the feature, or another frame with ``ROW``). It returns a
LazyFrame with the row key and new columns, one line per row; or a list of expressions over `rows`, if each value
depends on its row alone. `by` are the keys of the groups, `columns` the measured columns, `order_by` the time. New
columns have names like ``price_mean_by_store``; `prefix` is added before them, `suffix` replaces ``_by_store``.

Null and NaN are missing values. A null key is a group like any other. Rows of equal time are ordered by the row key, so
that no result depends on the order of the rows.
"""

from workbench.features.recipes.categories import crosses, ordinal_codes, rare_grouped
from workbench.features.recipes.columns import null_counts, together
from workbench.features.recipes.dates import cyclic_dates, date_parts, holiday_distances
from workbench.features.recipes.embeddings import svd_embeddings, text_embeddings
from workbench.features.recipes.groups import counts, frequencies, group_position, group_stats, top_pivot
from workbench.features.recipes.sessions import distinct_so_far, session_position, sessions
from workbench.features.recipes.texts import hashed_ngrams, text_forms
from workbench.features.recipes.windows import (
    differences,
    expanding,
    lags,
    rolling,
    since_last,
    until_next,
)

__all__ = [
    "counts",
    "crosses",
    "cyclic_dates",
    "date_parts",
    "differences",
    "distinct_so_far",
    "expanding",
    "frequencies",
    "group_position",
    "group_stats",
    "hashed_ngrams",
    "holiday_distances",
    "lags",
    "null_counts",
    "ordinal_codes",
    "rare_grouped",
    "rolling",
    "session_position",
    "sessions",
    "since_last",
    "svd_embeddings",
    "text_embeddings",
    "text_forms",
    "together",
    "top_pivot",
    "until_next",
]

VERSIONS = dict.fromkeys(__all__, 1)
"""Versions of the recipes, which represent their code in the keys of blocks and runs.

Increment the version if a recipe returns other values than before. The code itself may be moved and renamed:
`tests/test_pinned.py` compares its values with stored ones.
"""

LIBRARIES = {"svd_embeddings": "sklearn", "text_embeddings": "sklearn"}
"""Recipe -> a package (besides polars and numpy) whose version is part of the keys."""
