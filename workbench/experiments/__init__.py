"""Numbered experiments: read, planned, run, recorded.

In comes ``experiments/012.toml``; out comes a folder below ``runs/`` and a row of the ledger. `spec` reads the file,
`plan` checks everything that decides the result and makes the key, `run` decides what is to be done and is the only
writer of run folders (`run_folder`). Who makes the predictions goes by the kind: `trained`, `notebook_run` (with
`notebooks`), `recommend_run`; `predictions` scores and writes them, whatever made them. `current_runs` tells which
run stands for an experiment, `tune` gives a study its problem.
"""
