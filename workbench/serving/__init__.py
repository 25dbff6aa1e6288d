"""From a finished run to a submission, anywhere: the form of the file, and predictions without the workspace."""

from workbench.serving.predict import FORMAT, MANIFEST, Bundle, find_bundle, find_data, opened, predict, read_bundle
from workbench.serving.submission_file import SubmissionForm, class_texts, submission_form, write_submission

__all__ = [
    "FORMAT",
    "MANIFEST",
    "Bundle",
    "SubmissionForm",
    "class_texts",
    "find_bundle",
    "find_data",
    "opened",
    "predict",
    "read_bundle",
    "submission_form",
    "write_submission",
]
