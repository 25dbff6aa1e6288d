"""From a platform's files to a competition on disk.

Input: the files as they were downloaded. Output: typed Parquet tables, ``competition.toml`` and a first experiment.
`workspace` finds the folders, `competition` reads a competition and loads its own code, `ingest` reads every file
format and converts it, `inference` derives the roles of tables and columns, the task, the metric and the folds.

A new file format is a module and an entry in `ingest.formats`; a new rule about columns goes into `inference.roles`.
"""
