"""The ratio of validation to train rows of each saved split, in a small file next to it.

Reading the split itself needs polars, whose import takes longer than the rest of `wb table`.
"""

from __future__ import annotations

from pathlib import Path

from workbench.core.cache import read_json, write_json

__all__ = ["read_size_ratios", "write_size_ratio"]


def read_size_ratios(folder: Path) -> tuple[dict[str, float], list[Path]]:
    """Return the size ratios of the saved splits in a folder, by the split's key, and the splits without a ratio."""
    ratios, missing = {}, []
    for path in sorted(folder.glob("*.parquet")):
        try:
            entry = read_json(path.with_suffix(".json"))
            ratios[str(entry["content"])] = float(entry["size_ratio"])
        except (OSError, ValueError, KeyError, TypeError):  # damaged JSON is a ValueError
            missing.append(path)
    return ratios, missing


def write_size_ratio(path: Path, content: str, ratio: float) -> None:
    """Write the size ratio of the split that is saved at `path`."""
    write_json(path.with_suffix(".json"), {"content": content, "size_ratio": ratio})
