"""The process in which a notebook runs: papermill, the kernel's start, the page, and what Kaggle serves to kernels.

In comes a job, a file of JSON; out go lines of JSON, the executed copy and its page.
`workbench.experiments.notebooks` starts it and watches it. Of the workbench it imports only how secrets are masked
and pages written: it is started for each notebook, and everything else takes as long to load as papermill does.
"""
