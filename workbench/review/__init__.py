"""Review of runs: the table of experiments (`table`) and the pages of a run and a competition (`report`).

Input is the ledger's records and the files of runs; output is rows with their changes and the significance of these,
and figures for the notebooks `report` and `eda`. Nothing here trains or writes runs.
"""
