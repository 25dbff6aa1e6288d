"""What is looked at before and after training: the data (`checks`) and the columns (`selection`).

In come a competition's tables and features, or a run; out come findings with their figures, and lists of columns that
experiments can name. A new check is a function that gives findings and one line in `checks.check`; a new method of
selection is a function beside `selection.methods` and its name in `selection.options`.
"""
