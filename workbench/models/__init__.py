"""Train models on columns, a target and folds: out-of-fold and test predictions.

`folds` splits the train rows; `target` and `transforms` turn the target into the numbers that models fit; `train` fits
a model per target, fold and seed; `records` has its inputs and outputs. Every library implements the contract in
`learner`, in a module of its own (`xgboost_folds`, `catboost_folds`, `sklearn_folds`, `function_folds`) or a package
(`lightgbm`), and gets its columns, labels and weights from `fold_data`. `serving` packs a finished run and predicts
with it outside the workspace.

Nothing here loads Kaggle's client, Optuna, papermill or a database: it also runs in kernels without network.
"""
