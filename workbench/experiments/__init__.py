"""Numbered experiments: reading, planning, running and recording them.

A run turns ``experiments/012.toml`` into a folder below ``runs/`` and a row of the ledger. `spec` reads the file;
`capabilities` has what each kind of experiment can do, and its runner (`runner` has the protocol). `run` is the only
writer of run folders (`run_folder`). The runner of the kind plans a run, which checks everything that decides the
result and computes the key, and executes it: `model_runner`, `notebook_run` (with `notebooks`), `recommend_run`.
`predictions` scores and writes the predictions of all kinds. `current_runs` finds the current run of an experiment,
`tune` searches for better parameters, `work_units` and `recommend_units` have parts of this work
for other processes.
"""
