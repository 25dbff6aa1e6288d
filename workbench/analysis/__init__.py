"""Analysis of the data (`checks`) and of the columns (`selection`), before and after training.

Input is a competition's tables and features, or a run; output is findings with their figures, and lists of columns that
experiments can name. A new check is a function that returns findings and a line in `checks.check`; a new selection
method is a function in `selection.methods` and its name in `selection.options`.
"""
