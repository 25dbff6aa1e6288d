"""Numbered experiments: read, planned, run, recorded.

In comes ``experiments/012.toml``; out comes a folder below ``runs/`` and a row of the ledger. `spec` reads the file;
`capabilities` has what each kind of experiment can do, and its runner (`runner` has the protocol). `run` decides what
is to be done and is the only writer of run folders (`run_folder`); the runner of the kind plans it, which checks
everything that decides the result and makes the key, and executes it: `trained`, `notebook_run` (with `notebooks`),
`recommend_run`. `predictions` scores and writes what is predicted, whoever made it. `current_runs` tells which run
stands for an experiment, `tune` gives a study its problem.
"""
