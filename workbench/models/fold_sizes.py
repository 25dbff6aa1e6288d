"""How much of the train rows a fold validates: kept beside each saved split, for those who do not read the split."""

from __future__ import annotations

from pathlib import Path

from workbench.core.cache import read_json, write_json

__all__ = ["read_size_ratios", "write_size_ratio"]


def read_size_ratios(folder: Path) -> tuple[dict[str, float], list[Path]]:
    """Return the size ratio of each saved split in a folder, by the split's key; and the splits that have none beside.

    Reading a split needs polars, which takes longer to import than `wb table` takes for all it shows.
    """
    ratios, missing = {}, []
    for path in sorted(folder.glob("*.parquet")):
        try:
            of_split = read_json(path.with_suffix(".json"))
            ratios[str(of_split["content"])] = float(of_split["size_ratio"])
        except (OSError, ValueError, KeyError, TypeError):  # a damaged one is a ValueError
            missing.append(path)
    return ratios, missing


def write_size_ratio(path: Path, content: str, ratio: float) -> None:
    """Write down the size ratio of the split that is saved at `path`."""
    write_json(path.with_suffix(".json"), {"content": content, "size_ratio": ratio})
