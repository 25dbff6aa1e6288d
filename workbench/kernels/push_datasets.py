"""The datasets of a kernel: files uploaded once, and versions created once, even if a push is interrupted."""

from __future__ import annotations

import time

from workbench.core.cache import file_sha256
from workbench.core.errors import DamagedError, LoginError, PlatformError, UnansweredError
from workbench.kernels.layers import PackedFile
from workbench.kernels.push_record import DatasetRecord, DatasetSending, Upload
from workbench.kernels.push_session import CHECKS_AGAIN, PushSession
from workbench.platforms.protocol import DatasetState

__all__ = ["DatasetPush"]

MAX_TOKEN_AGE_S = 6 * 24 * 3600
"""The age up to which an upload that is in no version yet is used; Kaggle's client resumes uploads for a week."""

MAX_PENDING_S = 30 * 60
"""A dataset that is not ready after this time has failed."""

WEB = "https://www.kaggle.com/datasets"


class DatasetPush:
    """Creates versions of a kernel's datasets."""

    def __init__(self, session: PushSession, kernel_name: str) -> None:
        self.session = session
        self.code_host = session.code_host
        self.kernel_name = kernel_name

    def base_files(self, name: str) -> dict[str, str]:
        """Return the digests of a dataset's files on the platform, by name; empty if they are not known."""
        record = self.session.record.datasets.get(name, DatasetRecord())
        state = self.code_host.dataset(name) if record.files else None
        if state is None:
            return {}
        self._check_private(name, state)
        return record.files if state.version == record.version else {}

    def put(self, name: str, files: list[PackedFile]) -> None:
        """Make sure that the newest version of a dataset has exactly these files."""
        session = self.session
        dataset = session.record.datasets.setdefault(name, DatasetRecord())
        digest_by_name = {f.flat_name: f.sha256 for f in files}
        if dataset.sending is not None:
            dataset = self._settle(name, dataset, dataset.sending)
        state = self.code_host.dataset(name)
        if state is not None:
            self._check_private(name, state)
        if state is not None and (state.version, digest_by_name) == (dataset.version, dataset.files):
            return
        earlier_uploads = set(dataset.uploads)
        tokens = [self._upload(file, dataset) for file in files]
        previous_version = state.version if state else 0
        dataset.sending = DatasetSending(previous_version=previous_version, files=digest_by_name)
        session.write_record()
        session.context.stage(f"dataset {name}")
        unanswered_error = None
        try:
            self.code_host.put_dataset(name, tokens, is_new=state is None, notes=f"wb kernel push {self.kernel_name}")
        except UnansweredError as exc:
            unanswered_error = exc
        except PlatformError as exc:
            # Nothing was created. Uploads of an earlier push may have expired and be the reason.
            dataset.sending = None
            for stale_name in () if isinstance(exc, LoginError) else earlier_uploads:
                dataset.uploads.pop(stale_name, None)
            session.write_record()
            raise
        new_state = self._wait_for_version(name, previous_version)
        if new_state is None:
            text = unanswered_error.message if unanswered_error else f"a version of the dataset {name!r} was accepted"
            raise UnansweredError(f"{text}; it is not listed", hint=CHECKS_AGAIN)
        self._check_complete(name, new_state, files)
        self._record_version(name, new_state.version, digest_by_name)
        self._check_private(name, new_state)

    def _check_private(self, name: str, state: DatasetState) -> None:
        """Refuse a public dataset: it would publish the competition's code and models."""
        if not state.is_private:
            raise PlatformError(
                f"the dataset {self.code_host.owner}/{name} is public, and the kernel's code and models would be, too",
                hint=f"make it private, or delete it: {WEB}/{self.code_host.owner}/{name}/settings; then "
                "`wb kernel push` again",
            )

    def _settle(self, name: str, dataset: DatasetRecord, sending: DatasetSending) -> DatasetRecord:
        """Find out whether the version that an interrupted push was creating exists; return the new record."""
        self.session.context.stage(f"dataset {name}: was a version created before the last push was interrupted?")
        new_state = self._wait_for_version(name, sending.previous_version)
        size_by_name = (
            self.code_host.dataset_files(name, new_state.version)
            if new_state is not None and new_state.status == "ready"
            else {}
        )
        if new_state is not None and set(size_by_name) == set(sending.files):
            return self._record_version(name, new_state.version, sending.files)
        dataset.sending = None
        self.session.write_record()
        return dataset

    def _record_version(self, name: str, version: int, files: dict[str, str]) -> DatasetRecord:
        """Record a dataset's newest version; `files` are the digests by name."""
        dataset = self.session.record.datasets[name] = DatasetRecord(version=version, files=files)
        self.session.write_record()
        return dataset

    def _upload(self, file: PackedFile, dataset: DatasetRecord) -> str:
        """Return the token of an uploaded file; a recent upload of the same bytes is not repeated."""
        upload = dataset.uploads.get(file.flat_name)
        if upload is None or upload.sha256 != file.sha256 or upload.at < time.time() - MAX_TOKEN_AGE_S:
            self.session.context.stage(f"uploading {file.name}")
            token = self.code_host.upload(file.path)
            if file_sha256(file.path) != file.sha256:
                raise DamagedError(f"{file.path} changed while it was uploaded", hint="`wb kernel push` again")
            upload = dataset.uploads[file.flat_name] = Upload(sha256=file.sha256, token=token, at=time.time())
            self.session.uploaded.append(file)
            self.session.write_record()
        return upload.token

    def _wait_for_version(self, name: str, earlier_version: int) -> DatasetState | None:
        """Return the version after `earlier_version` once it is ready or has failed; None if none appears in time."""
        started_at = time.monotonic()
        limit_s = self.code_host.delay_s
        while True:
            state = self.code_host.dataset(name)
            if state is not None and state.version > earlier_version and state.status != "pending":
                return state
            if state is not None and state.status == "pending":
                limit_s = MAX_PENDING_S
            if time.monotonic() - started_at > limit_s:
                return None
            time.sleep(self.session.list_pause_s)

    def _check_complete(self, name: str, new_state: DatasetState, files: list[PackedFile]) -> None:
        """Check that every file is listed: a file whose upload failed is missing without an error."""
        size_by_name = self.code_host.dataset_files(name, new_state.version) if new_state.status == "ready" else {}
        missing_names = [f.flat_name for f in files if f.flat_name not in size_by_name]
        if missing_names:
            self.session.record.datasets[name] = DatasetRecord()
            self.session.write_record()
            raise PlatformError(
                f"version {new_state.version} of the dataset {name!r} is {new_state.status} with {len(size_by_name)} "
                f"files, expected {len(files)}; missing: {', '.join(missing_names[:5])}",
                hint="`wb kernel push` uploads them again",
            )
        # Only a note: the listed sizes may not always be those of the files. The kernel compares digests itself.
        size_differences = [
            f"{f.flat_name} ({size_by_name[f.flat_name]:,} bytes; {f.size:,} here)"
            for f in files
            if size_by_name[f.flat_name] != f.size
        ]
        if size_differences:
            self.session.notes.append(f"of another size in the dataset {name!r}: {', '.join(size_differences[:3])}")
