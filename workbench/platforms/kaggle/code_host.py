"""Datasets and kernels on Kaggle."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from workbench.core.errors import NotFoundError, PlatformError
from workbench.core.printable import one_line
from workbench.platforms.kaggle.connection import Connection, pages
from workbench.platforms.kaggle.download import download
from workbench.platforms.kaggle.failures import refusal, status_of
from workbench.platforms.kaggle.submissions import KaggleSubmissions
from workbench.platforms.kaggle.upload import upload
from workbench.platforms.protocol import BeforeCreate, DatasetState, KernelSource, KernelState, KernelVersion

__all__ = ["KaggleCodeHost"]

PAGE_SIZE = 200
"""The number of entries requested per page of a list."""

DATASET_STATUSES = {"ready": "ready", "failed": "failed", "deleted": "failed"}
"""The status in `DatasetState` by Kaggle's status; all others are "pending"."""

FINAL_RUN_STATUSES = {"complete": "complete", "error": "error", "cancel_acknowledged": "cancelled"}
"""The workbench's name for the status of a run that has ended, by Kaggle's; all others keep Kaggle's name."""


class KaggleCodeHost:
    """The user's datasets and kernels; an implementation of `workbench.platforms.protocol.CodeHost`.

    Parameters
    ----------
    connection : Connection
    delay_s : float
        How long Kaggle may take to list what was created.
    submissions : KaggleSubmissions
        Creates submissions from the output of kernels.
    """

    def __init__(self, connection: Connection, submissions: KaggleSubmissions, delay_s: float) -> None:
        self.delay_s = delay_s
        self._connection = connection
        self._submissions = submissions

    @property
    def owner(self) -> str:
        """The account whose login is in use; the client looks up its name when it logs in."""
        return str(self._connection.api.config_values["username"])

    # ----------------------------------------------------------------------------------------------------- datasets

    def dataset(self, name: str) -> DatasetState | None:
        """Return the state of a dataset; None if there is no dataset of that name."""
        fields = {"owner_slug": self.owner, "dataset_slug": name}
        action = f"looking up the dataset {name!r}"
        dataset = self._call_or_none(action, "get_dataset", fields, "datasets")
        if dataset is None:
            return None
        state = self._call_or_none(action, "get_dataset_status", fields, "datasets")
        status = "pending" if state is None else DATASET_STATUSES.get(state.status.name.lower(), "pending")
        return DatasetState(int(dataset.current_version_number or 0), status, bool(dataset.is_private))

    def dataset_files(self, name: str, version: int) -> dict[str, int]:
        """Return the sizes of a version's files in bytes, by name."""
        fields = {"owner_slug": self.owner, "dataset_slug": name, "dataset_version_number": version}
        action = f"listing the files of the dataset {name!r}"
        pages = self._pages(action, "list_dataset_files", fields, "datasets")
        return {f.name: int(f.total_bytes or 0) for page in pages for f in page.dataset_files}

    def upload(self, file: Path) -> str:
        """Upload a file for a dataset and return its token."""
        from kagglesdk.blobs.types.blob_api_service import ApiBlobType

        stat = file.stat()
        fields = {
            "type": ApiBlobType.DATASET,
            "name": file.name,
            "content_length": stat.st_size,
            "last_modified_epoch_seconds": int(stat.st_mtime),
        }

        def start_upload() -> Any:
            action = f"starting the upload of {file.name}"
            return self._connection.call(action, "start_blob_upload", fields, service="blobs")

        return upload(self._connection, file, start_upload, consequence="no version was made", command="wb kernel push")

    def put_dataset(self, name: str, tokens: list[str], *, is_new: bool, notes: str) -> None:
        """Create a private dataset, or its next version, from uploaded files."""
        from kagglesdk.datasets.types import dataset_api_service as types

        files = []
        for token in tokens:
            file = types.ApiDatasetNewFile()
            file.token = token
            files.append(file)
        fields: dict[str, Any] = {"owner_slug": self.owner}
        if is_new:
            fields |= {"slug": name, "title": name, "license_name": "unknown", "is_private": True, "files": files}
        else:
            body = types.ApiCreateDatasetVersionRequestBody()
            body.version_notes, body.files = notes, files
            fields |= {"dataset_slug": name, "body": body}
        action = f"making {'the dataset' if is_new else 'a version of the dataset'} {name!r}"
        method = "create_dataset" if is_new else "create_dataset_version"
        response = self._connection.call_once(action, method, fields, service="datasets")
        # The client reports a refusal in an ordinary response.
        if response.error or (response.status or "").lower() == "error":
            raise refusal(action, response.error or response.status)

    # ------------------------------------------------------------------------------------------------------ kernels

    def kernel(self, name: str, number: int | None = None) -> KernelState | None:
        """Return the newest version of a kernel, or that of a number; None if there is none."""
        owner = self.owner
        fields = {"user_name": owner, "kernel_slug": name} | ({} if number is None else _version_label(number))
        action = f"looking up the kernel {name!r}" + ("" if number is None else f", version {number}")
        kernel = self._call_or_none(action, "get_kernel", fields, "kernels")
        if kernel is None:
            return None
        if number is None:
            number = int(kernel.metadata.current_version_number or 0)
        return KernelState(KernelVersion(owner, name, number), kernel.blob.source or "")

    def save_kernel(self, name: str, source: KernelSource) -> KernelVersion:
        """Save the next version of a kernel, which starts its run."""
        owner = self.owner
        fields: dict[str, Any] = {
            "slug": f"{owner}/{name}",
            "new_title": source.title,
            "text": source.notebook,
            "language": "python",
            "kernel_type": "notebook",
            "is_private": True,
            "enable_internet": False,
            "enable_tpu": False,
            "enable_gpu": bool(source.accelerator),
            "docker_image_pinning_type": source.docker_pin,
            "dataset_data_sources": [f"{owner}/{dataset}" for dataset in source.datasets],
            "competition_data_sources": [source.competition],
        }
        if source.accelerator:
            fields["machine_shape"] = source.accelerator
        if source.limit_s is not None:
            fields["session_timeout_seconds"] = int(source.limit_s)
        action = f"pushing the kernel {name!r}"
        response = self._connection.call_once(action, "save_kernel", fields, slug=source.competition, service="kernels")
        # The client reports a refusal in an ordinary response, and lists unknown sources.
        if response.error:
            raise refusal(action, response.error)
        unknown_sources = [*response.invalid_dataset_sources, *response.invalid_competition_sources]
        if unknown_sources:
            raise PlatformError(
                f"the kernel {name!r} was started, but without these sources, which Kaggle does not know: "
                f"{', '.join(unknown_sources)}",
                hint="have you joined the competition? Then `wb kernel push` again",
            )
        # Kaggle derives the name from the title.
        return KernelVersion(owner, PurePosixPath(response.ref or name).name, int(response.version_number or 0))

    def kernel_status(self, version: KernelVersion) -> tuple[str, str] | None:
        """Return the status of a version's run and why it failed; None if that can't be read yet."""
        session = self._call_or_none(
            f"asking for the status of the kernel {version.name!r}, version {version.number}",
            "get_kernel_session_status",
            _version_fields(version),
            "kernels",
        )
        if session is None:
            return None
        status = session.status.name.lower()
        return FINAL_RUN_STATUSES.get(status, status), one_line(session.failure_message or "")

    def kernel_log(self, version: KernelVersion) -> str:
        """Return what a version's run has printed so far."""
        return next((_log_text(page.log) for page in self._output_pages(version) if page.log), "")

    def fetch_output(self, version: KernelVersion, folder: Path) -> list[str]:
        """Fetch the files that a version's run wrote; return the names outside the folder, which are not fetched."""
        unsafe_names = []
        for page in self._output_pages(version):
            for file in page.files or []:
                if not _is_inside(file.file_name):
                    unsafe_names.append(file.file_name)
                    continue
                action = f"fetching {file.file_name} of the kernel {version.name!r}"
                download(self._connection, _return_url(file.url), folder / file.file_name, action=action)
        return unsafe_names

    def _output_pages(self, version: KernelVersion) -> Iterator[Any]:
        """Yield every page of the output of a version's run."""
        return self._pages(
            f"listing the output of the kernel {version.name!r}, version {version.number}",
            "list_kernel_session_output",
            _version_fields(version),
            "kernels",
        )

    def submit_kernel(
        self, slug: str, version: KernelVersion, file: str, message: str, *, before_create: BeforeCreate = lambda: None
    ) -> str:
        """Submit a file that a version wrote, once; if the response is lost, look for the submission in the list."""
        return self._submissions.submit_kernel(slug, version, file, message, before_create)

    # ------------------------------------------------------------------------------------------------------- shared

    def _call_or_none(self, action: str, method: str, fields: Mapping[str, Any], service: str) -> Any:
        """Make a call about a dataset or kernel, see `Connection.call`; return None if it does not exist."""
        try:
            return self._connection.call(action, method, fields, service=service)
        except (PlatformError, NotFoundError) as exc:
            # Kaggle answers 403 for a dataset or kernel that does not exist, and for some time after it was created.
            if status_of(exc.__cause__) in (403, 404):
                return None
            raise

    def _pages(self, action: str, method: str, fields: Mapping[str, Any], service: str) -> Iterator[Any]:
        """Yield every page of a list that belongs to a dataset or kernel; parameters as of `Connection.call`."""

        def request_page(token: str) -> Any:
            page_fields = {**fields, "page_size": PAGE_SIZE, "page_token": token}
            return self._connection.call(action, method, page_fields, service=service)

        return pages(request_page)


def _version_fields(version: KernelVersion) -> dict[str, str]:
    """Return the fields that identify a kernel's version in a request."""
    return {"user_name": version.owner, "kernel_slug": version.name} | _version_label(version.number)


def _version_label(number: int) -> dict[str, str]:
    """Return the field with a version's label.

    Without it Kaggle answers for the newest version, whoever saved it, and to a bare number it answers 404:
    https://github.com/Kaggle/kaggle-cli/issues/1200 and pull request 1201 there.
    """
    return {"version_label": f"v{number}"}


def _return_url(url: str) -> Callable[[], str]:
    """Return a function that returns an address: the `request` of `download`, for an address that needs none."""
    return lambda: url


def _is_inside(name: str) -> bool:
    """Tell whether a file name from Kaggle stays within the folder that the file is written to."""
    path = PurePosixPath(name)
    return bool(name) and not path.is_absolute() and ".." not in path.parts and "\\" not in name and "\0" not in name


def _log_text(log: str) -> str:
    """Return the printed text of a log: usually a JSON list of outputs with their stream, time and text (``data``)."""
    try:
        return "".join(str(output.get("data", "")) for output in json.loads(log))
    except (ValueError, AttributeError, TypeError):
        return log
