"""LightGBM as one of the model libraries, behind the contract in `workbench.models.learner`.

`parameters` makes a `LightGBMSpec` from the ``[model]`` table, by the rules in `parameter_rules` and `objectives`;
`learner` trains it, round by round in `boosting`. `bins` bins the train rows once for all folds, seeds and trials;
`datasets` makes LightGBM's datasets from a feature matrix, and `fold_datasets` those of each fold. `fold_scorer` scores
the trials of a search, and `shuffling` has the models and gains that column selection compares.
"""
