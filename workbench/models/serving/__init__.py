"""Predict with finished runs outside the workspace, and write submission files."""

from workbench.models.serving.bundle import (
    DATASETS,
    FORMAT,
    MANIFEST,
    RECEIPT,
    Bundle,
    find_bundle,
    find_data,
    flat_name,
    read_bundle,
    receipt,
)
from workbench.models.serving.learned import COLUMNS, ROWS_SAMPLE, LearnedColumns
from workbench.models.serving.predict import NOTES, bundle_competition, predict
from workbench.models.serving.submission_file import (
    SubmissionForm,
    class_texts,
    compare_submissions,
    foreign_labels,
    positive_labels,
    read_submission,
    submission_form,
    write_as_parquet,
    write_submission,
)

__all__ = [
    "COLUMNS",
    "DATASETS",
    "FORMAT",
    "MANIFEST",
    "NOTES",
    "RECEIPT",
    "ROWS_SAMPLE",
    "Bundle",
    "LearnedColumns",
    "SubmissionForm",
    "bundle_competition",
    "class_texts",
    "compare_submissions",
    "find_bundle",
    "find_data",
    "flat_name",
    "foreign_labels",
    "positive_labels",
    "predict",
    "read_bundle",
    "read_submission",
    "receipt",
    "submission_form",
    "write_as_parquet",
    "write_submission",
]
