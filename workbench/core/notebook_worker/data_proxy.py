"""A local stand-in for Kaggle's data proxy, through which kagglehub finds attached data.

In a notebook on Kaggle kagglehub downloads nothing: it asks the service at KAGGLE_DATA_PROXY_URL to attach the data,
and gets the name of a folder below ``/kaggle/input`` (kagglehub/kaggle_cache_resolver.py and clients.py of 1.0.3). This
service answers for data that are present, so that an unmodified kagglehub finds them without network.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

__all__ = ["data_proxy", "standin_path"]

INPUT = "/kaggle/input"

REFERENCES = {
    "competitionRef": ("competitions", ("CompetitionSlug",)),
    "datasetRef": ("datasets", ("OwnerSlug", "DatasetSlug")),
    "modelRef": ("models", ("OwnerSlug", "ModelSlug")),
    "kernelRef": ("notebooks", ("OwnerSlug", "KernelSlug")),
}
"""Key of a request -> kind of data, and the fields that identify them."""


def standin_path(python_path: str = "") -> str:
    """Return a PYTHONPATH that starts with the folder of the stand-in for kagglehub."""
    return os.pathsep.join(p for p in (str(Path(__file__).with_name("standin")), python_path) if p)


@contextmanager
def data_proxy(attached: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Run the service for the length of the block, and yield the environment variables that kagglehub needs.

    Parameters
    ----------
    attached : mapping
        Name of the data, such as ``"datasets/owner/slug"`` -> folder.
    """
    root = Path(os.environ.get("KAGGLE_CACHE_MOUNT_FOLDER", INPUT))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
            answer = json.dumps(_answer(request, attached, root)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        no_proxy = os.environ.get("NO_PROXY") or os.environ.get("no_proxy") or ""
        no_proxy = ",".join(filter(None, [no_proxy, "127.0.0.1"]))
        yield {
            "KAGGLE_DATA_PROXY_URL": f"http://127.0.0.1:{server.server_port}",
            # kagglehub requires both; the service ignores them.
            "KAGGLE_DATA_PROXY_TOKEN": "local",
            "KAGGLE_USER_SECRETS_TOKEN": "local",
            "NO_PROXY": no_proxy,
            "no_proxy": no_proxy,
        }
        server.shutdown()


def _answer(request: Mapping[str, Any], attached: Mapping[str, str], root: Path) -> dict[str, Any]:
    reference = next((r for r in REFERENCES if r in request), None)
    if reference is None:
        return _error(f"no data are named: expected one of {', '.join(REFERENCES)}")
    kind, names = REFERENCES[reference]
    fields: dict[str, Any] = request[reference]
    name = "/".join([kind, *(str(fields.get(n, "")) for n in names)])
    attached_folder = next((folder for n, folder in attached.items() if n.lower() == name.lower()), None)
    if attached_folder is None:
        return _error(f"{name} is not available here, and nothing is downloaded")
    folder, version = Path(attached_folder), fields.get("VersionNumber")
    if kind == "models":
        variation = [str(fields.get("Framework", "")), str(fields.get("InstanceSlug", ""))]
        version_folder = _version_folder(_subfolder(folder, variation), version)
        if version_folder is None:
            handle = "/".join([name, *variation, *([str(version)] if version else [])])
            return _error(f"{handle} is not available here, and nothing is downloaded")
        folder, version = version_folder, version_folder.name
    result: dict[str, Any] = {"mountSlug": folder.relative_to(root).as_posix()}
    return {"wasSuccessful": True, "result": result | ({"versionNumber": int(version)} if version else {})}


def _error(message: str) -> dict[str, Any]:
    return {"wasSuccessful": False, "errorMessage": message}


def _subfolder(folder: Path | None, names: list[str]) -> Path | None:
    """Return a subfolder, ignoring the case of names: a handle has "pyTorch" where the folder is "pytorch"."""
    for name in names:
        if folder is None or not folder.is_dir():
            return None
        folder = next((p for p in sorted(folder.iterdir()) if p.name.lower() == name.lower()), None)
    return folder


def _version_folder(folder: Path | None, version: Any) -> Path | None:
    """Return the folder of a version, or of the newest one if no version is given."""
    versions = [p for p in folder.iterdir() if p.name.isdecimal()] if folder is not None and folder.is_dir() else []
    if version:
        return next((p for p in versions if p.name == str(version)), None)
    return max(versions, key=lambda p: int(p.name), default=None)
