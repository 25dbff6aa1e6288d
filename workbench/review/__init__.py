"""What is shown of runs: the table of experiments (`table`) and the pages of a run and a competition (`report`).

In come the ledger's records and the files of runs; out come rows with their differences and what is noise, and figures
for the notebooks `report` and `eda`. Nothing here trains or writes a run.
"""
