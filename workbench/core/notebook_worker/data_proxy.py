"""The part of Kaggle's data proxy that kagglehub asks inside Kaggle: where attached data are.

In a notebook on Kaggle, kagglehub downloads nothing. It asks the service that KAGGLE_DATA_PROXY_URL names to attach the
data, and gets the name of their folder below ``/kaggle/input`` (kagglehub/kaggle_cache_resolver.py and clients.py of
1.0.3). Here the service answers for what is there already, so that an unmodified kagglehub finds it without network.
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


def standin_path(python_path: str = "") -> str:
    """Return PYTHONPATH with the folder of the module that stands in for kagglehub before what it had."""
    return os.pathsep.join(p for p in (str(Path(__file__).with_name("standin")), python_path) if p)


@contextmanager
def data_proxy(attached: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Answer for the length of the block, and give the environment variables that lead there.

    Parameters
    ----------
    attached : mapping
        Name of the data, such as ``"datasets/owner/slug"``, -> its folder.
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
        beside = os.environ.get("NO_PROXY") or os.environ.get("no_proxy") or ""
        past = ",".join(filter(None, [beside, "127.0.0.1"]))
        yield {
            "KAGGLE_DATA_PROXY_URL": f"http://127.0.0.1:{server.server_port}",
            # kagglehub wants both to be there; nothing here looks at them.
            "KAGGLE_DATA_PROXY_TOKEN": "local",
            "KAGGLE_USER_SECRETS_TOKEN": "local",
            "NO_PROXY": past,
            "no_proxy": past,
        }
        server.shutdown()


def _answer(request: Mapping[str, Any], attached: Mapping[str, str], root: Path) -> dict[str, Any]:
    reference = next((r for r in REFERENCES if r in request), None)
    if reference is None:
        return _refused(f"no data are named: expected one of {', '.join(REFERENCES)}")
    kind, names = REFERENCES[reference]
    fields: dict[str, Any] = request[reference]
    name = "/".join([kind, *(str(fields.get(n, "")) for n in names)])
    place = next((p for n, p in attached.items() if n.lower() == name.lower()), None)
    if place is None:
        return _refused(f"{name} is not available here, and nothing is downloaded")
    folder, version = Path(place), fields.get("VersionNumber")
    if kind == "models":
        wanted = [str(fields.get("Framework", "")), str(fields.get("InstanceSlug", ""))]
        of_version = _version(_below(folder, wanted), version)
        if of_version is None:
            shown = "/".join([name, *wanted, *([str(version)] if version else [])])
            return _refused(f"{shown} is not available here, and nothing is downloaded")
        folder, version = of_version, of_version.name
    result: dict[str, Any] = {"mountSlug": folder.relative_to(root).as_posix()}
    return {"wasSuccessful": True, "result": result | ({"versionNumber": int(version)} if version else {})}


def _refused(text: str) -> dict[str, Any]:
    return {"wasSuccessful": False, "errorMessage": text}


def _below(folder: Path | None, names: list[str]) -> Path | None:
    """Return a folder below another, whatever the case of its name: a handle has "pyTorch", the folder "pytorch"."""
    for name in names:
        if folder is None or not folder.is_dir():
            return None
        folder = next((p for p in sorted(folder.iterdir()) if p.name.lower() == name.lower()), None)
    return folder


def _version(folder: Path | None, version: Any) -> Path | None:
    """Return the folder of a version, or of the newest where none is asked for."""
    versions = [p for p in folder.iterdir() if p.name.isdecimal()] if folder is not None and folder.is_dir() else []
    if version:
        return next((p for p in versions if p.name == str(version)), None)
    return max(versions, key=lambda p: int(p.name), default=None)
