"""Recipes for embeddings of groups and texts by truncated SVD."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.core.distribution import install_hint
from workbench.core.errors import FeatureError
from workbench.data.competition import ROW
from workbench.features.recipes.arguments import Call, Columns, Naming, join_to_rows, normalized
from workbench.features.recipes.texts import WORD, normalize_unicode

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["svd_embeddings", "text_embeddings"]

WEIGHTS = ("count", "binary", "log", "tfidf")


def svd_embeddings(  # noqa: PLR0913 - public: features.py names each
    rows: pl.LazyFrame,
    by: Columns,
    *,
    items: str,
    n: int = 8,
    weight: str = "tfidf",
    max_items: int = 100_000,
    seed: int = 0,
    **naming: Unpack[Naming],
) -> pl.LazyFrame:
    """Return a truncated SVD of the matrix of groups and items, such as users and articles: ``item_svd0_by_user``, ….

    Groups with similar items have similar vectors. It needs scikit-learn (the extra ``features``), and is computed when
    it is called. The matrix is sparse: it has one number for each pair of group and item that occurs. Do not use it
    with ``@feature(partition_by=…)``, as each part would have its own axes.

    Parameters
    ----------
    rows : LazyFrame
    by : str or list of str
        The keys of the group. A null key is a group like any other.
    items : str
        The column of the items; null and NaN are ignored.
    n : int
        The number of columns. If there are fewer groups or items, the remaining columns are 0.
    weight : str
        "count", "binary" (1 for each item of the group), "log" (1 + log count), or "tfidf" (count times
        log((1 + groups) / (1 + groups with the item)) + 1, each group scaled to length 1, as in scikit-learn).
    max_items : int
        The number of most frequent items to use (of equally frequent ones the smaller).
    seed : int
        The seed of the randomised SVD (Halko, Martinsson and Tropp 2011). The sign of each column is chosen so that the
        item with the greatest absolute weight has a positive weight.
    **naming
        `prefix`, `suffix`.

    Returns
    -------
    LazyFrame
        One line per row, Float32; null for a group without items.

    Raises
    ------
    FeatureError
        For invalid arguments, or if scikit-learn is not installed.

    Examples
    --------
    >>> import polars as pl
    >>> from workbench.features import ROW, svd_embeddings
    >>> rows = pl.LazyFrame({ROW: [0, 1, 2, 3], "user": ["a", "a", "b", "c"], "item": [1, 2, 2, 3]})
    >>> embeddings = svd_embeddings(rows, "user", items="item", n=2, weight="count").sort(ROW).collect()
    >>> embeddings.select(pl.exclude(ROW).cast(pl.Float64).round(2).abs()).rows()
    [(1.38, 0.0), (1.38, 0.0), (0.85, 0.0), (0.0, 1.0)]
    """
    call = Call.of("svd_embeddings", rows, naming)
    keys = call.columns(by, name="by")
    item = call.columns(items, name="items")[0]
    frame, group = call.keyed(keys, normalized(item, call.schema[item]).alias("__item__"))
    names = [call.name(item, f"svd{i}", by=keys) for i in range(call.at_least(n, 1, name="n"))]
    pairs = _pairs(frame, group, call.at_least(max_items, 1, name="max_items"))
    call.chosen(weight, WEIGHTS, name="weight")
    return join_to_rows(frame, group, _embedded(call, pairs, group, names, weight, seed))


def text_embeddings(
    rows: pl.LazyFrame,
    column: str,
    *,
    n: int = 8,
    weight: str = "tfidf",
    max_words: int = 50_000,
    seed: int = 0,
    **naming: Unpack[Naming],
) -> pl.LazyFrame:
    """Return a truncated SVD of texts and words (latent semantic analysis): ``title_svd0`` to ``title_svd7``.

    Parameters
    ----------
    rows : LazyFrame
    column : str
        Texts, whose words (runs of letters, digits and _) are converted to lower case. Equal texts count once.
    n, weight, max_words, seed
        As for `svd_embeddings`, with texts as groups and words as items.
    **naming
        `prefix`, `suffix`.

    Returns
    -------
    LazyFrame
        One line per row, Float32; null for null and for a text without words.

    Examples
    --------
    >>> import polars as pl
    >>> from workbench.features import ROW, text_embeddings
    >>> rows = pl.LazyFrame({ROW: [0, 1, 2], "title": ["red shoe", "Red shoe!", "hat"]})
    >>> embeddings = text_embeddings(rows, "title", n=2).sort(ROW).collect()
    >>> embeddings.select(pl.exclude(ROW).round(2).abs()).rows()
    [(1.0, 0.0), (1.0, 0.0), (0.0, 1.0)]
    """
    call = Call.of("text_embeddings", rows, naming)
    if not isinstance(column, str):
        raise call.error(f"column={column!r} must be one column's name", "call it once for each column")
    text = normalize_unicode(pl.col(call.texts(column)[0]).cast(pl.String).str.to_lowercase()).alias("__text__")
    frame = rows.select(ROW, text)
    words = (
        frame.select("__text__", ROW)
        .unique("__text__")
        .select("__text__", __item__=pl.col("__text__").str.extract_all(WORD))
    )
    names = [call.name(column, f"svd{i}") for i in range(call.at_least(n, 1, name="n"))]
    pairs = _pairs(words.explode("__item__"), ["__text__"], call.at_least(max_words, 1, name="max_words"))
    call.chosen(weight, WEIGHTS, name="weight")
    return join_to_rows(frame, ["__text__"], _embedded(call, pairs, ["__text__"], names, weight, seed))


def _pairs(frame: pl.LazyFrame, group: list[str], max_items: int) -> pl.DataFrame:
    """Return the counts of the most frequent items by group, for the pairs that occur."""
    with_item = frame.drop_nulls("__item__")
    sizes = with_item.group_by("__item__").agg(n=pl.len()).sort(["n", "__item__"], descending=[True, False])
    frequent = (
        sizes.head(max_items).sort("__item__").select("__item__", __column__=pl.int_range(pl.len(), dtype=pl.Int32))
    )
    pair_counts = with_item.group_by(*group, "__item__").agg(__count__=pl.len())
    return pair_counts.join(frequent, on="__item__").drop("__item__").collect()


def _embedded(
    call: Call, pairs: pl.DataFrame, group: list[str], names: list[str], weight: str, seed: int
) -> pl.LazyFrame:
    """Return a table with the vector of each group."""
    # Sorted by key, so that the result does not depend on the order of the rows.
    groups = pairs.select(group).unique().sort(group)
    numbered_groups = groups.with_columns(__line__=pl.int_range(pl.len(), dtype=pl.Int32))
    cells = pairs.join(numbered_groups, on=group, nulls_equal=True).sort("__line__", "__column__")
    vectors = np.zeros((groups.height, len(names)), np.float32)
    if groups.height:
        components = _svd(call, _matrix(cells, weight), len(names), seed)
        vectors[:, : components.shape[1]] = components
    columns = [pl.Series(name, vectors[:, i]) for i, name in enumerate(names)]
    return groups.with_columns(columns).lazy()


def _matrix(cells: pl.DataFrame, weight: str) -> csr_array:
    """Return the weighted matrix of groups by items."""
    from scipy.sparse import csr_array

    lines, columns = cells["__line__"].to_numpy(), cells["__column__"].to_numpy()
    values = cells["__count__"].to_numpy().astype(np.float64)
    shape = (int(lines.max()) + 1, int(columns.max()) + 1)
    if weight == "binary":
        values = np.ones_like(values)
    elif weight == "log":
        values = 1 + np.log(values)
    elif weight == "tfidf":
        values = values * (np.log((1 + shape[0]) / (1 + np.bincount(columns))) + 1)[columns]
        values /= np.sqrt(np.bincount(lines, weights=values**2))[lines]
    return csr_array((values, (lines, columns)), shape=shape)


def _svd(call: Call, matrix: Any, n: int, seed: int) -> npt.NDArray[np.float32]:
    try:
        from sklearn.utils.extmath import randomized_svd
    except ImportError as exc:
        raise FeatureError(
            f"{call.recipe} needs scikit-learn, which is not installed", hint=install_hint("features")
        ) from exc
    # As in scikit-learn's TruncatedSVD, which refuses a matrix with a single column; the signs are fixed below.
    left_vectors, singular_values, right_vectors = randomized_svd(
        matrix, min(n, *matrix.shape), n_iter=7, random_state=seed
    )
    largest_weights = right_vectors[np.arange(len(right_vectors)), np.abs(right_vectors).argmax(axis=1)]
    scaled: npt.NDArray[np.float32] = (left_vectors * singular_values * np.where(largest_weights < 0, -1, 1)).astype(
        np.float32
    )
    return scaled
