"""From columns, a target and folds to OOF and test predictions.

`folds` makes the splits, `target` and `transforms` the numbers that are learned, `train` goes through targets, folds
and seeds, and `records` says what goes in and what comes out. A library stands behind the contract in `learner`, in a
module of its own: `lightgbm_folds`, `xgboost_folds`, `catboost_folds`, `sklearn_folds`, `function_folds`. What its
models see of a fold, and the way back to the target's scale, all of them have from `fold_data`. `boosting` has the one
loop that trains LightGBM; `binned`, `datasets` and `fold_datasets` are LightGBM's alone. `serving` packs what was
learned, and predicts without the workspace.

Nothing here loads Kaggle's client, Optuna, papermill or a database: it also runs inside kernels without network.
"""
