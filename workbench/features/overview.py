"""Summaries of features and cached blocks, as lists and as a graph of the features' inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from workbench.core.cache import EntryInfo
from workbench.core.html_page import as_html
from workbench.core.printable import one_line
from workbench.features.block_keys import AUTO, is_built_in
from workbench.features.build import Blocks
from workbench.features.definition import Feature

__all__ = ["CachedBlock", "FeatureSummary", "as_mermaid", "as_svg", "cached_blocks", "summarise_features"]


@dataclass(frozen=True)
class FeatureSummary:
    """Summary of a feature.

    Attributes
    ----------
    name : str
    kind : str
        "feature", or "fold" for a fold feature, which has no block.
    reads : tuple of str
        The inputs: ``rows``, tables and features; for a fold feature the columns.
    where : str
        The place of the definition, "features.py, line 12"; empty for built-in features.
    partition_by : str or None
    cached : bool
        Whether the cache has a block for the current code and data.
    columns : dict or None
        Column -> type; None if there is no block.
    size_bytes, seconds, peak_rss_mb
        Size and cost of the block; None if there is none.
    left_out : dict or None
        For ``auto``: column -> reason, for columns that it does not use. None if there is no block.
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
    """Return the summaries of all features, in the order of `features.py`, or of `names`.

    No feature is computed.

    Raises
    ------
    FeatureError, NotFoundError
        For a cycle, an unknown input, or a name that is both a table and a feature.
    """
    defined = [n for n in blocks.features if n != AUTO]
    return [_summary(blocks, name) for name in names or [*defined, AUTO]]


def _summary(blocks: Blocks, name: str) -> FeatureSummary:
    feature, key = blocks.get(name), blocks.key(name)
    if not isinstance(feature, Feature):
        return FeatureSummary(name, "fold", feature.columns, "features.py")
    where = "" if name == AUTO and is_built_in(feature) else feature.where
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
    """A cached block.

    Attributes
    ----------
    key : str
    what : str
        What it contains: the name of the feature, or a description.
    current : bool
        Whether it belongs to the current code and data of a feature.
    columns : int
        The number of columns.
    size_bytes : int
    seconds : float, or None
        The time that it took to compute.
    used_at : float
        The time of the last use, in seconds since the epoch.
    """

    key: str
    what: str
    current: bool
    columns: int
    size_bytes: int
    seconds: float | None
    used_at: float


def cached_blocks(blocks: Blocks) -> list[CachedBlock]:
    """Return all blocks in the cache, the most recently used first.

    Raises
    ------
    FeatureError, NotFoundError
        For a feature whose key can't be computed: its blocks would look outdated.
    """
    current = {blocks.key(name) for name, feature in blocks.features.items() if isinstance(feature, Feature)}
    current.add(blocks.keys.plan_key)
    return [_cached_block(stored, stored.key in current) for stored in blocks.store.stored()]


def _cached_block(stored: EntryInfo, current: bool) -> CachedBlock:
    note = stored.note
    incomplete = "unfinished" if note.get("unfinished") else "damaged"
    copy_text = f"{note['parts_of']} by {note.get('by')}" if "parts_of" in note else incomplete
    block_text = f"the plan of {note['plan_of']}" if "plan_of" in note else str(note.get("feature", copy_text))
    content = "LightGBM's bins" if "binned" in note else block_text
    # Copies by part and binned data are shared by features and experiments, and always count as current.
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
    """Return the graph of the features' inputs in mermaid syntax.

    Examples
    --------
    >>> print(as_mermaid([FeatureSummary("ratio", "feature", ("rows",), "features.py, line 3")]))
    flowchart LR
        n0[("rows")]
        n1["ratio"]
        n0 --> n1
    """
    nodes, edges = _graph(summaries)
    node_ids = {name: f"n{i}" for i, name in enumerate(nodes)}
    shapes = {"table": '[("{}")]', "feature": '["{}"]', "fold": '{{{{"{}"}}}}'}
    lines = [f"    {node_ids[n]}{shapes[kind].format(_label(n))}" for n, kind in nodes.items()]
    lines += [f"    {node_ids[source]} --> {node_ids[reader]}" for source, reader in edges]
    return "\n".join(["flowchart LR", *lines])


def _label(name: str) -> str:
    # A label is HTML in quotation marks; mermaid's entities begin with "#".
    return one_line(name).replace('"', "#quot;").replace("<", "#lt;").replace("`", "#96;")


def _graph(summaries: Sequence[FeatureSummary]) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Return node -> kind, inputs before their readers, and the edges from input to reader."""
    by_name = {summary.name: summary for summary in summaries}
    nodes: dict[str, str] = {}
    edges: list[tuple[str, str]] = []
    for summary in summaries:
        for source in _sources(summary, by_name):
            kind = by_name[source].kind if source in by_name and source != summary.name else "table"
            label = source if kind != "table" or source not in by_name else f"{source} (table)"
            nodes.setdefault(label, kind)
            edges.append((label, summary.name))
    for summary in summaries:
        nodes.setdefault(summary.name, summary.kind)
    rank = _ranks(list(nodes), edges)
    return {n: nodes[n] for n in sorted(nodes, key=lambda n: rank[n])}, edges


def _sources(summary: FeatureSummary, by_name: dict[str, FeatureSummary]) -> list[str]:
    if summary.kind != "fold":
        return list(summary.reads)
    names = [r.partition(".")[0] if r.partition(".")[0] in by_name else "rows" for r in summary.reads]
    return list(dict.fromkeys(names))


def _ranks(nodes: Sequence[str], edges: Sequence[tuple[str, str]]) -> dict[str, int]:
    """Return the length of the longest path to each node from one without inputs."""
    rank = dict.fromkeys(nodes, 0)
    for _ in nodes:
        for source, reader in edges:
            rank[reader] = max(rank[reader], rank[source] + 1)
    return rank


CHARACTER_WIDTH, BOX_HEIGHT, GAP_X, GAP_Y, MARGIN = 7.4, 30, 70, 16, 16
FILLS = {"table": "#e8eef7", "feature": "#ffffff", "fold": "#fdf3dc"}


def as_svg(summaries: Sequence[FeatureSummary]) -> str:
    """Return the graph as an SVG picture, with arrows from inputs to readers.

    Nodes are arranged in columns by `_ranks`. Within a column they are ordered by the mean vertical position of their
    inputs (Sugiyama et al. 1981, one sweep), which avoids most crossings.
    """
    nodes, edges = _graph(summaries)
    boxes, width, height = _layout(nodes, edges)
    elements = [_arrow(boxes[source], boxes[reader]) for source, reader in edges]
    elements += [_box(name, kind, boxes[name]) for name, kind in nodes.items()]
    body = "\n".join(elements)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="ui-monospace, monospace" font-size="12">\n'
        '<defs><marker id="tip" markerWidth="8" markerHeight="8" refX="7" refY="4" orient="auto">'
        '<path d="M0,0 L8,4 L0,8 z" fill="#667"/></marker></defs>\n'
        f'<rect width="100%" height="100%" fill="#fff"/>\n{body}\n</svg>\n'
    )


Box = tuple[float, float, float]  # left, middle, width


def _layout(nodes: dict[str, str], edges: Sequence[tuple[str, str]]) -> tuple[dict[str, Box], float, float]:
    """Return the box of each node by name, and the width and height of the drawing."""
    rank = _ranks(list(nodes), edges)
    boxes: dict[str, Box] = {}
    x, max_y = float(MARGIN), 0.0
    for step in range(max(rank.values(), default=0) + 1):
        column = [n for n in nodes if rank[n] == step]
        column.sort(key=lambda n: _mean([boxes[source][1] for source, reader in edges if reader == n]))
        width = max((len(n) for n in column), default=0) * CHARACTER_WIDTH + 20
        for i, name in enumerate(column):
            middle = MARGIN + BOX_HEIGHT / 2 + i * (BOX_HEIGHT + GAP_Y)
            boxes[name] = (x, middle, width)
            max_y = max(max_y, middle)
        x += width + GAP_X
    return boxes, x - GAP_X + MARGIN, max_y + BOX_HEIGHT / 2 + MARGIN


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _box(name: str, kind: str, box: Box) -> str:
    x, middle, width = box
    radius = {"table": 2, "feature": 6, "fold": 15}[kind]
    return (
        f'<g><title>{as_html(name)}: {kind}</title><rect x="{x:.0f}" y="{middle - BOX_HEIGHT / 2:.0f}" '
        f'width="{width:.0f}" height="{BOX_HEIGHT}" rx="{radius}" fill="{FILLS[kind]}" stroke="#667"/>'
        f'<text x="{x + width / 2:.0f}" y="{middle + 4:.0f}" text-anchor="middle">{as_html(name)}</text></g>'
    )


def _arrow(start: Box, end: Box) -> str:
    x0, y0, x1, y1 = start[0] + start[2], start[1], end[0], end[1]
    bend = (x1 - x0) / 2
    return (
        f'<path d="M{x0:.0f},{y0:.0f} C{x0 + bend:.0f},{y0:.0f} {x1 - bend:.0f},{y1:.0f} {x1:.0f},{y1:.0f}" '
        'fill="none" stroke="#667" marker-end="url(#tip)"/>'
    )
