"""Benchmarks: ours and theirs side by side in one run. `python -m tests.bench NAME [--scale 0.1] [--json]`."""
