"""From predictions to the file that is sent."""

from workbench.serving.submission_file import SubmissionForm, class_texts, submission_form, write_submission

__all__ = ["SubmissionForm", "class_texts", "submission_form", "write_submission"]
