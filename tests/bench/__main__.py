"""Run a comparison and print, per row, what was measured, ours, theirs, and the ratio (above 1 is better for us)."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from typing import Any

NAMES = (
    "baseline",
    "bigger",
    "columns",
    "covisit",
    "covisit-full",
    "cv",
    "encode",
    "features",
    "fetch",
    "forward",
    "ingest",
    "kernel-predict",
    "matrix",
    "metrics",
    "notebook",
    "nulls",
    "otto",
    "overhead",
    "recall",
    "rounds",
    "select",
    "small",
    "startup",
    "tune",
    "wide",
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--scale", type=float, default=1.0, help="scale the sizes down, for a quick look")
    parser.add_argument("--json", action="store_true", help="one JSON list on stdout")
    arguments = parser.parse_args()
    rows = importlib.import_module(f"tests.bench.{arguments.name.replace('-', '_')}").cases(arguments.scale)
    if arguments.json:
        json.dump(rows, sys.stdout)
        print()
    else:
        print_rows(rows)


def print_rows(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        print(f"{row['case']:<28} {row['measure']:<18} ours {row['ours']:>10.5g} {row['unit']}")
        for name, value in row["theirs"].items():
            ratio = row["ratio"][name]
            # Scores lie close together.
            shown = "-" if ratio is None else f"{ratio:.4f}" if abs(ratio - 1) < 0.05 else f"{ratio:.2f}"
            print(f"{'':<28} {name:<18}      {value:>10.5g} {row['unit']:<4} ratio {shown}")


if __name__ == "__main__":
    main()
