"""What features there are: what each reads and gives, what it cost, whether it is built; as a list and as a graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from workbench.core.cache import EntryInfo
from workbench.core.html_page import as_html
from workbench.core.printable import one_line
from workbench.features.build import AUTO, Blocks
from workbench.features.definition import Feature

__all__ = ["CachedBlock", "FeatureSummary", "as_mermaid", "as_svg", "cached_blocks", "summarise_features"]


@dataclass(frozen=True)
class FeatureSummary:
    """One feature.

    Attributes
    ----------
    name : str
    kind : str
        "feature", or "fold" for one that depends on the fold and has no block.
    reads : tuple of str
        ``rows``, tables, features; for a fold feature the columns.
    where : str
        "features.py, line 12"; empty for what is built in.
    partition_by : str or None
    cached : bool
        Whether the block is there as the code and the data now stand.
    columns : dict or None
        The columns with their types; None as long as it was not built.
    size_bytes, seconds, peak_rss_mb : of the block, None as long as it was not built.
    left_out : dict or None
        Of ``auto`` the columns that it makes nothing of, with the reasons; None as long as it was not built.
    """

    name: str
    kind: str
    reads: tuple[str, ...]
    where: str
    partition_by: str | None = None
    cached: bool = False
    columns: dict[str, str] | None = None
    size_bytes: int | None = None
    seconds: float | None = None
    peak_rss_mb: float | None = None
    left_out: dict[str, str] | None = None


def summarise_features(blocks: Blocks, names: Sequence[str] = ()) -> list[FeatureSummary]:
    """Return a line for each feature, in the order of `features.py`; for `names` only where some are given.

    Nothing is built.

    Raises
    ------
    FeatureError, NotFoundError
        For a cycle, an unknown input, a name that is both a table and a feature.
    """
    defined = [n for n in blocks.features if n != AUTO]
    return [_summary(blocks, name) for name in names or [*defined, AUTO]]


def _summary(blocks: Blocks, name: str) -> FeatureSummary:
    feature, key = blocks.get(name), blocks.key(name)
    if not isinstance(feature, Feature):
        return FeatureSummary(name, "fold", feature.columns, "features.py")
    where = "" if name == AUTO and blocks.built_in(feature) else feature.where
    summary = FeatureSummary(name, "feature", feature.inputs, where, feature.partition_by)
    block = blocks.store.peek(key)
    if block is None:
        return summary
    note = block.note
    return FeatureSummary(
        name,
        "feature",
        feature.inputs,
        where,
        feature.partition_by,
        cached=True,
        columns=dict(note["columns"]),
        size_bytes=note["size_bytes"],
        seconds=note.get("seconds"),
        peak_rss_mb=note.get("peak_rss_mb"),
        left_out=note.get("left_out"),
    )


@dataclass(frozen=True)
class CachedBlock:
    """A stored block: of which feature, and whether any feature as it now stands would use it."""

    key: str
    what: str
    current: bool
    columns: int
    size_bytes: int
    seconds: float | None
    used_at: float


def cached_blocks(blocks: Blocks) -> list[CachedBlock]:
    """Return what the cache holds, the most recently used first.

    Raises
    ------
    FeatureError, NotFoundError
        For a feature that can't be keyed: its blocks would look as if nothing used them.
    """
    current = {blocks.key(name) for name, feature in blocks.features.items() if isinstance(feature, Feature)}
    current.add(blocks.plan_key)
    return [_cached(stored, stored.key in current) for stored in blocks.store.stored()]


def _cached(stored: EntryInfo, current: bool) -> CachedBlock:
    note = stored.note
    incomplete = "unfinished" if note.get("unfinished") else "damaged"
    copied = f"{note['parts_of']} by {note.get('by')}" if "parts_of" in note else incomplete
    of_feature = f"the plan of {note['plan_of']}" if "plan_of" in note else str(note.get("feature", copied))
    content = "LightGBM's bins" if "binned" in note else of_feature
    # A copy of the rows that lies part by part serves every feature with that key, and bins every experiment with the
    # same columns; they are kept as long as they are used.
    return CachedBlock(
        stored.key,
        content,
        (current and ("feature" in note or "plan_of" in note)) or "parts_of" in note or "binned" in note,
        len(note.get("columns") or ()),
        stored.size_bytes,
        note.get("seconds"),
        stored.used_at,
    )


# ------------------------------------------------------------------------------------------------------------ graph


def as_mermaid(summaries: Sequence[FeatureSummary]) -> str:
    """Return the graph of what reads what, as mermaid's text.

    Examples
    --------
    >>> print(as_mermaid([FeatureSummary("ratio", "feature", ("rows",), "features.py, line 3")]))
    flowchart LR
        n0[("rows")]
        n1["ratio"]
        n0 --> n1
    """
    nodes, edges = _graph(summaries)
    node_id = {name: f"n{i}" for i, name in enumerate(nodes)}
    shapes = {"table": '[("{}")]', "feature": '["{}"]', "fold": '{{{{"{}"}}}}'}
    lines = [f"    {node_id[n]}{shapes[kind].format(_label(n))}" for n, kind in nodes.items()]
    lines += [f"    {node_id[a]} --> {node_id[b]}" for a, b in edges]
    return "\n".join(["flowchart LR", *lines])


def _label(name: str) -> str:
    # A label is HTML, between quotation marks; mermaid's entities begin with "#".
    return one_line(name).replace('"', "#quot;").replace("<", "#lt;").replace("`", "#96;")


def _graph(summaries: Sequence[FeatureSummary]) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Return the kinds of the nodes by name, what is read before who reads it, and the edges."""
    by_name = {s.name: s for s in summaries}
    nodes: dict[str, str] = {}
    edges: list[tuple[str, str]] = []
    for s in summaries:
        for source in _sources(s, by_name):
            kind = by_name[source].kind if source in by_name and source != s.name else "table"
            label = source if kind != "table" or source not in by_name else f"{source} (table)"
            nodes.setdefault(label, kind)
            edges.append((label, s.name))
    for s in summaries:
        nodes.setdefault(s.name, s.kind)
    rank = _ranks(list(nodes), edges)
    return {n: nodes[n] for n in sorted(nodes, key=lambda n: rank[n])}, edges


def _sources(summary: FeatureSummary, by_name: dict[str, FeatureSummary]) -> list[str]:
    if summary.kind != "fold":
        return list(summary.reads)
    names = [r.partition(".")[0] if r.partition(".")[0] in by_name else "rows" for r in summary.reads]
    return list(dict.fromkeys(names))


def _ranks(nodes: Sequence[str], edges: Sequence[tuple[str, str]]) -> dict[str, int]:
    """Return how many steps each node is from what reads nothing, along the longest way."""
    rank = dict.fromkeys(nodes, 0)
    for _ in nodes:
        for a, b in edges:
            rank[b] = max(rank[b], rank[a] + 1)
    return rank


CHARACTER, BOX_HEIGHT, GAP_X, GAP_Y, MARGIN = 7.4, 30, 70, 16, 16
FILLS = {"table": "#e8eef7", "feature": "#ffffff", "fold": "#fdf3dc"}


def as_svg(summaries: Sequence[FeatureSummary]) -> str:
    """Return the graph as an SVG picture: columns by distance from the tables, arrows from what is read to its reader.

    Nodes of a column are ordered by the mean height of what they read (Sugiyama et al. 1981, one sweep), which keeps
    arrows from crossing where that is easy.
    """
    nodes, edges = _graph(summaries)
    places, width, height = _places(nodes, edges)
    body = [_arrow(places[a], places[b]) for a, b in edges]
    body += [_box(name, kind, places[name]) for name, kind in nodes.items()]
    drawn = "\n".join(body)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="ui-monospace, monospace" font-size="12">\n'
        '<defs><marker id="tip" markerWidth="8" markerHeight="8" refX="7" refY="4" orient="auto">'
        '<path d="M0,0 L8,4 L0,8 z" fill="#667"/></marker></defs>\n'
        f'<rect width="100%" height="100%" fill="#fff"/>\n{drawn}\n</svg>\n'
    )


Place = tuple[float, float, float]  # left, middle, width


def _places(nodes: dict[str, str], edges: Sequence[tuple[str, str]]) -> tuple[dict[str, Place], float, float]:
    rank = _ranks(list(nodes), edges)
    places: dict[str, Place] = {}
    x, lowest = float(MARGIN), 0.0
    for step in range(max(rank.values(), default=0) + 1):
        column = [n for n in nodes if rank[n] == step]
        column.sort(key=lambda n: _mean([places[a][1] for a, b in edges if b == n]))
        width = max((len(n) for n in column), default=0) * CHARACTER + 20
        for i, name in enumerate(column):
            middle = MARGIN + BOX_HEIGHT / 2 + i * (BOX_HEIGHT + GAP_Y)
            places[name] = (x, middle, width)
            lowest = max(lowest, middle)
        x += width + GAP_X
    return places, x - GAP_X + MARGIN, lowest + BOX_HEIGHT / 2 + MARGIN


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _box(name: str, kind: str, place: Place) -> str:
    x, middle, width = place
    radius = {"table": 2, "feature": 6, "fold": 15}[kind]
    return (
        f'<g><title>{as_html(name)}: {kind}</title><rect x="{x:.0f}" y="{middle - BOX_HEIGHT / 2:.0f}" '
        f'width="{width:.0f}" height="{BOX_HEIGHT}" rx="{radius}" fill="{FILLS[kind]}" stroke="#667"/>'
        f'<text x="{x + width / 2:.0f}" y="{middle + 4:.0f}" text-anchor="middle">{as_html(name)}</text></g>'
    )


def _arrow(start: Place, end: Place) -> str:
    x0, y0, x1, y1 = start[0] + start[2], start[1], end[0], end[1]
    bend = (x1 - x0) / 2
    return (
        f'<path d="M{x0:.0f},{y0:.0f} C{x0 + bend:.0f},{y0:.0f} {x1 - bend:.0f},{y1:.0f} {x1:.0f},{y1:.0f}" '
        'fill="none" stroke="#667" marker-end="url(#tip)"/>'
    )
