"""Datasets and kernels on Kaggle."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from workbench.core.errors import NotFoundError, PlatformError
from workbench.core.printable import one_line
from workbench.platforms.kaggle.connection import Connection, pages
from workbench.platforms.kaggle.download import download
from workbench.platforms.kaggle.failures import refusal, status_of
from workbench.platforms.kaggle.upload import upload
from workbench.platforms.protocol import Creating, DatasetState, KernelSource, KernelState, KernelVersion

__all__ = ["Code"]

PAGE = 200
STATUS = {"ready": "ready", "failed": "failed", "deleted": "failed"}
ENDED = {"complete": "complete", "error": "error", "cancel_acknowledged": "cancelled"}

Submit = Callable[[str, str, str, Callable[[Any], Any], Creating], str]
"""Creates a submission of the competition, the description, the words for messages and the maker of the request."""


class Code:
    """The user's datasets and kernels; an implementation of `workbench.platforms.protocol.CodeHost`.

    Parameters
    ----------
    connection : Connection
    delay_s : float
        How long Kaggle may take to show what it took.
    submit : callable
    """

    def __init__(self, connection: Connection, delay_s: float, submit: Submit) -> None:
        self.delay_s = delay_s
        self._connection = connection
        self._submit = submit

    @property
    def owner(self) -> str:
        """The account whose login is in use; the client asks for its name when it logs in."""
        return str(self._connection.api.config_values["username"])

    # ----------------------------------------------------------------------------------------------------- datasets

    def dataset(self, name: str) -> DatasetState | None:
        """Return the state of a dataset; None where there is none of that name."""
        place = {"owner_slug": self.owner, "dataset_slug": name}
        action = f"looking up the dataset {name!r}"
        dataset = self._ask_or_none(action, "get_dataset", "ApiGetDatasetRequest", "datasets", **place)
        if dataset is None:
            return None
        state = self._ask_or_none(action, "get_dataset_status", "ApiGetDatasetStatusRequest", "datasets", **place)
        status = "pending" if state is None else STATUS.get(state.status.name.lower(), "pending")
        return DatasetState(int(dataset.current_version_number or 0), status, bool(dataset.is_private))

    def dataset_files(self, name: str, version: int) -> dict[str, int]:
        """Return the sizes of a version's files, by name."""
        pages = self._pages(
            f"listing the files of the dataset {name!r}",
            "list_dataset_files",
            "ApiListDatasetFilesRequest",
            "datasets",
            owner_slug=self.owner,
            dataset_slug=name,
            dataset_version_number=version,
        )
        return {f.name: int(f.total_bytes or 0) for page in pages for f in page.dataset_files}

    def upload(self, file: Path) -> str:
        """Upload a file for a dataset and return its token."""
        stat = file.stat()

        def make(types: Any) -> Any:
            request = types.ApiStartBlobUploadRequest()
            request.type = types.ApiBlobType.DATASET
            request.name = file.name
            request.content_length = stat.st_size
            request.last_modified_epoch_seconds = int(stat.st_mtime)
            return request

        def start() -> Any:
            action = f"starting the upload of {file.name}"
            return self._connection.ask(action, "start_blob_upload", make, service="blobs")

        return upload(self._connection, file, start, otherwise="no version was made", again="wb kernel push")

    def put_dataset(self, name: str, tokens: list[str], *, first: bool, notes: str) -> None:
        """Make a private dataset, or its next version, of uploaded files."""

        def make(types: Any) -> Any:
            if first:
                request = body = types.ApiCreateDatasetRequest()
                request.owner_slug, request.slug, request.title = self.owner, name, name
                request.license_name, request.is_private = "unknown", True
            else:
                request, body = types.ApiCreateDatasetVersionRequest(), types.ApiCreateDatasetVersionRequestBody()
                request.owner_slug, request.dataset_slug, request.body = self.owner, name, body
                body.version_notes = notes
            for token in tokens:
                file = types.ApiDatasetNewFile()
                file.token = token
                body.files = [*body.files, file]
            return request

        action = f"making {'the dataset' if first else 'a version of the dataset'} {name!r}"
        method = "create_dataset" if first else "create_dataset_version"
        answer = self._connection.tell(action, method, make, service="datasets")
        # A refusal is a plain return.
        if answer.error or (answer.status or "").lower() == "error":
            raise refusal(action, answer.error or answer.status)

    # ------------------------------------------------------------------------------------------------------ kernels

    def kernel(self, name: str, number: int | None = None) -> KernelState | None:
        """Return the newest version of a kernel, or that of a number; None where there is none."""
        owner = self.owner
        wanted = {"user_name": owner, "kernel_slug": name} | ({} if number is None else _label(number))
        action = f"looking up the kernel {name!r}" + ("" if number is None else f", version {number}")
        kernel = self._ask_or_none(action, "get_kernel", "ApiGetKernelRequest", "kernels", **wanted)
        if kernel is None:
            return None
        if number is None:
            number = int(kernel.metadata.current_version_number or 0)
        return KernelState(KernelVersion(owner, name, number), kernel.blob.source or "")

    def save_kernel(self, name: str, source: KernelSource) -> KernelVersion:
        """Save the next version of a kernel, which runs at once."""
        owner = self.owner

        def make(types: Any) -> Any:
            request = types.ApiSaveKernelRequest()
            request.slug, request.new_title, request.text = f"{owner}/{name}", source.title, source.notebook
            request.language, request.kernel_type = "python", "notebook"
            request.is_private, request.enable_internet, request.enable_tpu = True, False, False
            request.enable_gpu = bool(source.accelerator)
            if source.accelerator:
                request.machine_shape = source.accelerator
            request.docker_image_pinning_type = source.docker_pin
            if source.limit_s is not None:
                request.session_timeout_seconds = int(source.limit_s)
            request.dataset_data_sources = [f"{owner}/{d}" for d in source.datasets]
            request.competition_data_sources = [source.competition]
            return request

        action = f"pushing the kernel {name!r}"
        answer = self._connection.tell(action, "save_kernel", make, slug=source.competition, service="kernels")
        # A refused push returns normally, and an unknown source is only listed.
        if answer.error:
            raise refusal(action, answer.error)
        unknown = [*answer.invalid_dataset_sources, *answer.invalid_competition_sources]
        if unknown:
            raise PlatformError(
                f"the kernel {name!r} runs without data that Kaggle does not know: {', '.join(unknown)}",
                hint="have you joined the competition? Then `wb kernel push` again",
            )
        # The name is made of the title, by rules that are Kaggle's.
        return KernelVersion(owner, PurePosixPath(answer.ref or name).name, int(answer.version_number or 0))

    def kernel_status(self, version: KernelVersion) -> tuple[str, str] | None:
        """Return how a version's run is doing and why it failed; None where it can't be read yet."""
        session = self._ask_or_none(
            f"asking for the status of the kernel {version.name!r}, version {version.number}",
            "get_kernel_session_status",
            "ApiGetKernelSessionStatusRequest",
            "kernels",
            **_of_version(version),
        )
        if session is None:
            return None
        status = session.status.name.lower()
        return ENDED.get(status, status), one_line(session.failure_message or "")

    def kernel_log(self, version: KernelVersion) -> str:
        """Return what a version's run printed so far."""
        return next((_log_text(page.log) for page in self._output(version) if page.log), "")

    def fetch_output(self, version: KernelVersion, folder: Path) -> list[str]:
        """Fetch what a version's run wrote; return the names that lead out of the folder, which are left out."""
        refused = []
        for page in self._output(version):
            for file in page.files or []:
                if not _is_inside(file.file_name):
                    refused.append(file.file_name)
                    continue
                action = f"fetching {file.file_name} of the kernel {version.name!r}"
                download(self._connection, _address(file.url), folder / file.file_name, action=action)
        return refused

    def _output(self, version: KernelVersion) -> Iterator[Any]:
        return self._pages(
            f"listing the output of the kernel {version.name!r}, version {version.number}",
            "list_kernel_session_output",
            "ApiListKernelSessionOutputRequest",
            "kernels",
            **_of_version(version),
        )

    def submit_kernel(
        self, slug: str, version: KernelVersion, file: str, message: str, *, creating: Creating = lambda: None
    ) -> str:
        """Submit a file that a version writes; a lost answer is settled as that of a file is."""

        def make(types: Any) -> Any:
            request = types.ApiCreateCodeSubmissionRequest()
            request.competition_name = slug
            request.kernel_owner, request.kernel_slug = version.owner, version.name
            request.kernel_version = version.number
            request.file_name = file
            request.submission_description = message
            return request

        action = f"submitting version {version.number} of the kernel {version.name!r} to {slug!r}"
        return self._submit(slug, message, action, make, creating)

    # --------------------------------------------------------------------------------------------------------- both

    def _ask(self, action: str, method: str, request: str, service: str, **fields: Any) -> Any:
        def make(types: Any) -> Any:
            message = getattr(types, request)()
            for key, value in fields.items():
                setattr(message, key, value)
            return message

        return self._connection.ask(action, method, make, service=service)

    def _ask_or_none(self, action: str, method: str, request: str, service: str, **fields: Any) -> Any:
        try:
            return self._ask(action, method, request, service, **fields)
        except (PlatformError, NotFoundError) as exc:
            # Kaggle answers 403 for what does not exist, and for a while for what was just made.
            if status_of(exc.__cause__) in (403, 404):
                return None
            raise

    def _pages(self, action: str, method: str, request: str, service: str, **fields: Any) -> Iterator[Any]:
        return pages(
            lambda token: self._ask(action, method, request, service, page_size=PAGE, page_token=token, **fields)
        )


def _of_version(version: KernelVersion) -> dict[str, str]:
    return {"user_name": version.owner, "kernel_slug": version.name} | _label(version.number)


def _label(number: int) -> dict[str, str]:
    """Return what names a version in a request about a kernel.

    Without it Kaggle answers for the newest version, whoever saved it, and a bare number is not known (404):
    https://github.com/Kaggle/kaggle-cli/issues/1200 and the pull request 1201 there.
    """
    return {"version_label": f"v{number}"}


def _address(url: str) -> Callable[[], str]:
    return lambda: url


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(name) and not path.is_absolute() and ".." not in path.parts and "\\" not in name and "\0" not in name


def _log_text(log: str) -> str:
    # A list of pieces, each with its stream and time.
    try:
        return "".join(str(piece.get("data", "")) for piece in json.loads(log))
    except (ValueError, AttributeError, TypeError):
        return log
