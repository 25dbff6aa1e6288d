"""Recipes: the building blocks of features, as functions to be called inside ``@feature`` functions.

Each takes `rows`, a LazyFrame with the row key (the feature's rows, or any other frame that has kept ``ROW``), and
returns a LazyFrame with the row key and new columns, one line per row, or, where a row is enough by itself, a list of
expressions over `rows`. `by` names the keys of a group, `columns` what is measured, `order_by` the time. Names are
those of the words, ``price_mean_by_store``; `prefix` goes before, `suffix` takes the place of ``_by_store``.

Null and NaN are missing. A null key is a group like any other. Joins are by key. Rows of equal time are ordered by the
row key, so that no result depends on the order of the rows.
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
"""What stands for a recipe's code in the keys of blocks and runs: one more where it gives other values than before.

The code itself does not count, so that it may be moved. That values stay is held by stored ones, in
`tests/test_pinned.py`.
"""

LIBRARIES = {"svd_embeddings": "sklearn", "text_embeddings": "sklearn"}
"""Packages beside polars and numpy whose version counts, too, where a recipe is used."""
