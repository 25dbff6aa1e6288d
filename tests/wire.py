"""A fake Kaggle server: the API, the storage, and their faults, behind its own proxy.

The real client runs against it unchanged, directed by ``HTTPS_PROXY`` and ``REQUESTS_CA_BUNDLE``. The protocol was derived
from the client's code; guesses about the real service are marked (?).
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import re
import socket
import ssl
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import trustme

API, STORAGE = "api.kaggle.com", "storage.example"
USER, KEY, TOKEN = "someone", "secret-key-of-someone", "KGAT_secret_token_of_someone"
REFRESH, SIGNED_IN = "secret-refresh-of-someone", "KGAT_secret_signed_in"
SIGNATURE = "secret-signature"
PAGE_LIMIT = 200

Score = Callable[[bytes], "tuple[float, float] | str"]


@dataclass
class Fault:
    """A fault of the calls named `on` (an API method, "storage" or "upload"), `times` times after the first `skip`."""

    on: str
    status: int | None = None
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut_after: int | None = None
    hang_s: float = 0.0
    lose_answer: bool = False
    trickle_s: float = 0.0
    change: Callable[[bytes], bytes] | None = None
    before: Callable[[], None] | None = None
    times: int = 1
    skip: int = 0
    seen: int = 0

    def strikes(self) -> bool:
        self.seen += 1
        return self.skip < self.seen <= self.skip + self.times


@dataclass
class Hosted:
    """One competition on the server."""

    slug: str
    files: dict[str, bytes]
    title: str = "A competition"
    metric: str = "Area Under Receiver Operating Characteristic Curve"
    daily_limit: int = 5
    score: Score = lambda _: (0.5, 0.4)
    scored_after: int = 0
    private_shown: bool = False
    rules_accepted: bool = True
    entered: bool = True
    disabled: bool = False
    kernels_only: bool = False
    deadline: datetime = field(default_factory=lambda: datetime.now(UTC) + timedelta(days=30))
    created: datetime = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    leaderboard: list[tuple[str, float]] = field(default_factory=list)
    private_leaderboard: list[tuple[str, float]] | None = None
    awards_points: bool = True
    score_shown: bool = True
    total_limit: int | None = None
    sizes: dict[str, int] = field(default_factory=dict)
    packed: tuple[str, ...] = ()
    compresslevel: int = 1
    submissions: list[dict[str, Any]] = field(default_factory=list)
    uploads: dict[str, bytes] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    archive_bytes: bytes | None = None

    @property
    def archive(self) -> bytes:
        if self.archive_bytes is None:
            out = io.BytesIO()
            with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=self.compresslevel) as archive:
                for name, data in self.files.items():
                    archive.writestr(zipfile.ZipInfo(name, self.created.timetuple()[:6]), data, zipfile.ZIP_DEFLATED)
            self.archive_bytes = out.getvalue()
        return self.archive_bytes

    def replace_files(self, **files: bytes) -> None:
        self.files |= {name.replace("__", "."): data for name, data in files.items()}
        self.archive_bytes = None
        self.created += timedelta(days=1)

    def used_today(self) -> int:
        return sum(s["status"] != "ERROR" for s in self.submissions)


@dataclass
class Session:
    """A kernel's run: what it is told, the states that it goes through, each shown once, and what it leaves."""

    push: str
    states: list[str]
    output: dict[str, bytes]
    says: str = ""
    is_silent: bool = False

    @property
    def log(self) -> str:
        pieces = [] if self.is_silent else [f"push {self.push}\n", "wrote submission.csv\n", self.says]
        return json.dumps([{"stream_name": "stdout", "time": 0.1 * i, "data": text} for i, text in enumerate(pieces)])


class Server:
    """The server; `calls` lists what was asked, in order."""

    def __init__(self) -> None:
        self.hosted: dict[str, Hosted] = {}
        self.faults: list[Fault] = []
        self.calls: list[str] = []
        self.bodies: list[str] = []
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.bytes_sent = 0
        self.bytes_uploaded = 0
        # Datasets and kernels are hosted as a competition of this name holds its uploads; versions by slug.
        self.hosted["blobs"] = Hosted("blobs", {})
        self.datasets: dict[str, list[dict[str, bytes]]] = {}
        self.dataset_states: list[str] = ["READY"]
        self.public_datasets: set[str] = set()
        self.kernels: dict[str, list[dict[str, Any]]] = {}
        self.kernel_states: list[str] = ["QUEUED", "RUNNING", "COMPLETE"]
        self.kernel_output = {"submission.csv": b"id,y\n"}
        self.kernel_error = ""
        self.kernel_says = ""
        self.failed_output: dict[str, bytes] = {}
        self.sessions: dict[tuple[str, int], Session] = {}
        self.session = Session("", [], {})
        self.pushed = ""
        self.refuse_proxy = False
        self.login_ok = True
        # What is signed in through the browser: tokens that are accepted, and the calls until the present one ends.
        self.key = KEY
        self.tokens = {SIGNED_IN}
        self.refresh_ok = True
        self.token_calls_left: int | None = None
        self.unknown_status = 404
        self.page_limit = PAGE_LIMIT
        # What is put together from parts has a CRC-32C alone.
        self.send_md5, self.send_crc32c = True, False
        # Whether the storage sends packed what may come packed, as a proxy or Google's storage can.
        self.packs_on_the_way = False
        self.logins_left: int | None = None
        self.ranges: list[str] = []
        self._digest: tuple[bytes, bytes] = (b"", b"")
        self.lock = threading.Lock()
        self._ca = trustme.CA()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert(API, STORAGE, "www.kaggle.com").configure_cert(self.context)
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        self._closing = threading.Event()
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def proxy(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def close(self) -> None:
        self._closing.set()
        self._http.shutdown()
        self._http.server_close()

    def write_ca(self, path: Path) -> Path:
        self._ca.cert_pem.write_to_path(str(path))
        return path

    def host(self, slug: str, files: dict[str, bytes] | Path, **options: Any) -> Hosted:
        if isinstance(files, Path):
            files = {p.relative_to(files).as_posix(): p.read_bytes() for p in sorted(files.rglob("*")) if p.is_file()}
        self.hosted[slug] = Hosted(slug, files, **options)
        return self.hosted[slug]

    def fault(self, on: str, **options: Any) -> Fault:
        made = Fault(on, **options)
        self.faults.append(made)
        return made

    def fault_for(self, call: str) -> Fault | None:
        with self.lock:
            return next((f for f in self.faults if f.on == call and f.strikes()), None)

    def save_on_the_web(self, slug: str, states: list[str], output: dict[str, bytes], says: str = "") -> None:
        """Save another version of a kernel as somebody does on its page, and run it."""
        versions = self.kernels.setdefault(slug, [])
        versions.append({"text": "print('on the web')"})
        self.sessions[slug, len(versions)] = Session("", states, output, says)

    def session_of(self, slug: str, number: int) -> Session:
        """Return the run of a version of a kernel; `session` is that of the version that was pushed last."""
        found = self.sessions.get((slug, number), self.session)
        return self.session if found.push and found.push == self.pushed else found

    def start(self, slug: str, number: int, notebook: str) -> None:
        """Run a kernel: it is not executed; what it would write is `kernel_output`, and the receipt of that."""
        push = re.search(r"push = \\?\"([^\"\\]+)", notebook)
        told = {"push": push[1] if push else "", "file": next(iter(self.kernel_output), "submission.csv")}
        told["sha256"] = hashlib.sha256(self.kernel_output.get(told["file"], b"")).hexdigest()
        failed = self.kernel_states[-1] in ("ERROR", "CANCEL_ACKNOWLEDGED")
        # The run, too, is in the receipt: it is that of the manifest among the kernel's datasets.
        manifests = [v[-1]["wb-manifest.json"] for v in self.datasets.values() if v and "wb-manifest.json" in v[-1]]
        told["run_id"] = json.loads(manifests[0])["run_id"] if manifests else ""
        output = dict(self.failed_output if failed else self.kernel_output)
        if not failed:
            output.setdefault("wb-receipt.json", json.dumps(told).encode())
        self.session = Session(told["push"], list(self.kernel_states), output, self.kernel_says)
        self.sessions[slug, number], self.pushed = self.session, self.session.push

    @staticmethod
    def crc32c(data: bytes) -> bytes:
        """Return the CRC-32C of hosted bytes, bit by bit as its definition says."""
        crc = 0xFFFFFFFF
        for byte in data:
            crc ^= byte
            for _ in range(8):
                crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
        return (crc ^ 0xFFFFFFFF).to_bytes(4, "big")

    def digest(self, data: bytes) -> bytes:
        """Return the MD5 of hosted bytes; of large ones computed once, as a storage has it at hand."""
        if len(data) < 1 << 20:
            return hashlib.md5(data).digest()
        if self._digest[0] is not data:
            self._digest = (data, hashlib.md5(data).digest())
        return self._digest[1]

    def wait(self, seconds: float) -> None:
        self._closing.wait(seconds)

    def environment(self, home: Path, *, login: bool = True, signed_in: bool = False) -> dict[str, str]:
        """Return the variables that point the client here, with an empty home and a key, or a sign-in, in it."""
        home.mkdir(parents=True, exist_ok=True)
        (home / ".kaggle").mkdir(exist_ok=True)
        if signed_in:
            credentials = {"refresh_token": REFRESH, "access_token": SIGNED_IN, "username": USER, "scopes": []}
            credentials |= {"access_token_expiration": (datetime.now(UTC) + timedelta(hours=12)).isoformat()}
            file = home / ".kaggle" / "credentials.json"
            file.write_text(json.dumps(credentials))
            file.chmod(0o600)
            login = False
        if login:
            key = home / ".kaggle" / "kaggle.json"
            key.write_text(json.dumps({"username": USER, "key": KEY}))
            key.chmod(0o600)
        certificate = str(self.write_ca(home / "ca.pem"))
        return {
            "HOME": str(home),
            "HTTPS_PROXY": self.proxy,
            "https_proxy": self.proxy,
            "NO_PROXY": "",
            "no_proxy": "",
            "REQUESTS_CA_BUNDLE": certificate,
        }


@contextmanager
def served() -> Iterator[Server]:
    server = Server()
    try:
        yield server
    finally:
        server.close()


class _RefusedError(Exception):
    def __init__(self, status: int, message: str) -> None:
        self.status, self.message = status, message


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:  # noqa: C901 - one class, closed over its server
    class Handler(BaseHTTPRequestHandler):
        disable_nagle_algorithm = True  # else each answer waits 40 ms for a delayed acknowledgement
        protocol_version = "HTTP/1.1"
        wbufsize = 0

        def parse_request(self) -> bool:
            # The client sends what it asks and the body apart: the second waits 40 ms for the first to be acknowledged.
            if hasattr(socket, "TCP_QUICKACK"):
                self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            return super().parse_request()

        def log_message(self, *_: Any) -> None:
            pass

        def handle(self) -> None:
            try:
                super().handle()
            except (OSError, ValueError):
                self.close_connection = True

        def finish(self) -> None:
            # The TLS socket took the plain one's place; the server would only close that one.
            for opened in (self.rfile, self.wfile, self.connection):
                with suppress(OSError):
                    opened.close()

        def do_CONNECT(self) -> None:
            host = self.path.partition(":")[0]
            if server.refuse_proxy or host not in (API, STORAGE):
                server.calls.append(f"CONNECT {host}")
                self.send_response(403)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(200)
            self.end_headers()
            self.connection = server.context.wrap_socket(self.connection, server_side=True)
            self.request = self.connection
            self.rfile = self.connection.makefile("rb", -1)
            self.wfile = self.connection.makefile("wb", 0)
            self.close_connection = False

        # -------------------------------------------------------------------------------------------------- API

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            method = self.path.rpartition("/")[2]
            server.calls.append(method)
            server.requests.append((method, json.loads(body or b"{}")))
            fault = server.fault_for(method)
            if fault and fault.before:
                fault.before()
            if fault and fault.hang_s:
                server.wait(fault.hang_s)
                return self._drop()
            if fault and fault.cut_after is not None:
                return self._drop()
            if fault and fault.status:
                return self._answer(fault.status, fault.body, fault.headers)
            try:
                self._authorised(method)
                answer = getattr(self, f"api_{method}")(json.loads(body or b"{}"))
            except _RefusedError as exc:
                error = {"error": {"code": exc.status, "message": exc.message, "status": "ERROR"}}
                return self._answer(exc.status, json.dumps(error).encode())
            if fault and fault.lose_answer:
                return self._drop()
            if isinstance(answer, str):
                return self._answer(302, b"", {"Location": answer, "Content-Type": "text/html"})
            return self._answer(200, json.dumps(answer).encode())

        def _authorised(self, method: str) -> None:
            given = self.headers.get("Authorization", "")
            good = ["Basic " + base64.b64encode(f"{USER}:{server.key}".encode()).decode(), f"Bearer {TOKEN}"]
            if method in ("IntrospectToken", "GenerateAccessToken"):
                return
            with server.lock:
                if server.token_calls_left is not None and given.startswith("Bearer"):
                    server.token_calls_left -= 1
                    if server.token_calls_left < 0:
                        server.tokens.clear()
                good += [f"Bearer {token}" for token in server.tokens]
            if server.logins_left is not None:
                server.logins_left -= 1
                if server.logins_left < 0:
                    raise _RefusedError(401, "Unauthenticated")
            if not server.login_ok or given not in good:
                raise _RefusedError(401, "Unauthenticated")

        def _of(self, request: dict[str, Any], permission: str = "participate") -> Hosted:
            name = request["competitionName"]
            if name not in server.hosted:
                # https://github.com/Kaggle/kaggle-cli/issues/530 and 488
                raise _RefusedError(403, f"Permission 'competitions.{permission}' was denied")
            return server.hosted[name]

        def _page(self, items: list[Any], request: dict[str, Any]) -> tuple[list[Any], str]:
            size = min(request.get("pageSize") or 20, server.page_limit)
            start = int(request.get("pageToken") or 0)
            more = start + size < len(items)
            return items[start : start + size], str(start + size) if more else ""

        def api_IntrospectToken(self, request: dict[str, Any]) -> Any:
            ok = request["token"] == TOKEN and server.login_ok
            return {"active": ok, "username": USER if ok else ""}

        def api_GenerateAccessToken(self, request: dict[str, Any]) -> Any:
            if self.headers.get("Authorization"):
                raise _RefusedError(401, "Unauthenticated")  # (?) a token that has ended is worse than none
            if not server.refresh_ok or request.get("refreshToken") != REFRESH:
                raise _RefusedError(401, "Unauthenticated")
            with server.lock:
                token = f"{SIGNED_IN}_{server.calls.count('GenerateAccessToken')}"
                server.tokens, server.token_calls_left = {token}, None
            return {"token": token, "expiresIn": 12 * 3600, "userName": USER, "userId": 1}

        def api_ListCompetitions(self, request: dict[str, Any]) -> Any:
            words = request.get("search") or ""
            found = [h for h in server.hosted.values() if words in h.slug or words in h.title]
            return {"competitions": [self._competition(h) for h in found], "nextPageToken": ""}

        def api_GetCompetition(self, request: dict[str, Any]) -> Any:
            if request["competitionName"] not in server.hosted and server.unknown_status == 404:
                raise _RefusedError(404, "Competition not found")
            return self._competition(self._of(request, "get"))

        def _competition(self, h: Hosted) -> dict[str, Any]:
            known = {
                "id": 1,
                "ref": f"https://www.kaggle.com/competitions/{h.slug}",
                "title": h.title,
                "deadline": _time(h.deadline),
                "maxDailySubmissions": h.daily_limit,
                "evaluationMetric": h.metric,
                "isKernelsSubmissionsOnly": h.kernels_only,
                "submissionsDisabled": h.disabled,
                "awardsPoints": h.awards_points,
                "userHasEntered": h.entered,
                "teamCount": len(h.leaderboard),
            }
            scored = [float(s["publicScore"]) for s in h.submissions if s["publicScore"]]
            if scored and h.leaderboard:
                known["userRank"] = 1 + sum(s > max(scored) for _, s in h.leaderboard)
            return known

        def api_ListDataFiles(self, request: dict[str, Any]) -> Any:
            h = self._of(request, "get")
            files, token = self._page(sorted(h.files.items()), request)
            listed = [
                {"name": n, "totalBytes": h.sizes.get(n, len(d)), "creationDate": _time(h.created)} for n, d in files
            ]
            return {"files": listed, "nextPageToken": token}

        def _allowed_to_download(self, h: Hosted) -> None:
            if not h.rules_accepted:
                raise _RefusedError(
                    403, "You must accept this competition's rules before you'll be able to download files."
                )

        def api_DownloadDataFiles(self, request: dict[str, Any]) -> Any:
            h = self._of(request)
            self._allowed_to_download(h)
            return f"https://{STORAGE}/{h.slug}/archive.zip?X-Goog-Signature={SIGNATURE}"

        def api_DownloadDataFile(self, request: dict[str, Any]) -> Any:
            h = self._of(request)
            self._allowed_to_download(h)
            name = request["fileName"]
            if name not in h.files:
                raise _RefusedError(404, "File not found")
            ending = ".zip" if name in h.packed else ""
            return f"https://{STORAGE}/{h.slug}/file/{quote(name)}{ending}?X-Goog-Signature={SIGNATURE}"

        def _joined(self, request: dict[str, Any]) -> Hosted:
            h = self._of(request)
            if not h.entered:
                raise _RefusedError(403, "Permission 'competitions.participate' was denied")
            return h

        def api_StartSubmissionUpload(self, request: dict[str, Any]) -> Any:
            h = self._joined(request)
            token = f"blob-{len(h.names)}"
            h.names[token] = request["fileName"]
            return {
                "token": token,
                "createUrl": f"https://{STORAGE}/{h.slug}/upload/{token}?X-Goog-Signature={SIGNATURE}",
            }

        def api_CreateSubmission(self, request: dict[str, Any]) -> Any:
            h = self._joined(request)
            with server.lock:
                if h.disabled:
                    raise _RefusedError(400, "Submission not allowed:  This competition is closed.")
                if h.kernels_only:
                    raise _RefusedError(
                        400, "Submission not allowed:  This competition accepts only Submissions from Notebooks."
                    )
                if h.used_today() >= h.daily_limit:
                    raise _RefusedError(
                        400, "Submission not allowed:  Your team has used its daily Submission allowance."
                    )
                data = h.uploads[request["blobFileTokens"]]
                ref = 1000 + len(h.submissions)
                h.submissions.append(
                    {
                        "ref": ref,
                        "date": _time(datetime.now(UTC)),
                        "description": request.get("submissionDescription") or "",
                        "fileName": h.names[request["blobFileTokens"]],
                        "status": "PENDING",
                        "publicScore": "",
                        "privateScore": "",
                        "submittedBy": USER,
                        "_left": h.scored_after,
                        "_data": data,
                    }
                )
            self._scored(h)
            return {"message": "Successfully submitted", "ref": ref}

        def _scored(self, h: Hosted) -> None:
            for s in h.submissions:
                if s["status"] != "PENDING":
                    continue
                if s["_left"] > 0:
                    s["_left"] -= 1
                    continue
                result = h.score(s["_data"])
                if isinstance(result, str):
                    s |= {"status": "ERROR", "errorDescription": result}
                else:
                    public = f"{result[0]:.5f}" if h.score_shown else ""
                    s |= {"status": "COMPLETE", "publicScore": public, "_private": f"{result[1]:.5f}"}

        def api_ListSubmissions(self, request: dict[str, Any]) -> Any:
            h = self._joined(request)
            self._scored(h)
            page, token = self._page(h.submissions[::-1], request)
            shown = [{k: v for k, v in s.items() if not k.startswith("_")} for s in page]
            if h.private_shown:
                shown = [s | {"privateScore": o.get("_private", "")} for s, o in zip(shown, page, strict=True)]
            return {"submissions": shown, "nextPageToken": token}

        def api_GetSubmissionLimits(self, request: dict[str, Any]) -> Any:
            h = self._of(request)
            if not h.entered:
                return {"numToday": 0, "numTotal": 0, "numAllowedNow": 0}
            used = h.used_today()
            left, total = max(0, h.daily_limit - used), len(h.submissions)
            by_total = h.total_limit is not None and h.total_limit - total < left
            left = max(0, (h.total_limit or 0) - total) if by_total else left
            limits = {"numToday": used, "numTotal": total, "numAllowedNow": left}
            return limits | {"limitedByTotal": by_total}

        def api_GetLeaderboard(self, request: dict[str, Any]) -> Any:
            h = self._of(request, "get")
            is_private = h.private_leaderboard is not None and not request.get("overridePublic")
            page, token = self._page((h.private_leaderboard or []) if is_private else h.leaderboard, request)
            rows = [
                {"teamId": i, "teamName": t, "score": f"{s}", "submissionDate": _time(datetime.now(UTC))}
                for i, (t, s) in enumerate(page)
            ]
            return {"submissions": rows, "nextPageToken": token}

        # ------------------------------------------------------------------------- datasets, kernels, code submissions

        def api_StartBlobUpload(self, request: dict[str, Any]) -> Any:
            return self.api_StartSubmissionUpload({"competitionName": "blobs", "fileName": request["name"]})

        def _version(self, slug: str, body: dict[str, Any]) -> Any:
            blobs = server.hosted["blobs"]
            # (?) A token that holds no upload is left out.
            tokens = [f["token"] for f in body.get("files", []) if f["token"] in blobs.uploads]
            if not body.get("isPrivate", slug in server.datasets):
                server.public_datasets.add(slug)
            server.datasets.setdefault(slug, []).append({blobs.names[t]: blobs.uploads[t] for t in tokens})
            return {"status": "ok", "ref": f"{USER}/{slug}"}

        def api_CreateDataset(self, request: dict[str, Any]) -> Any:
            if request["slug"] in server.datasets:
                return {"status": "error", "error": "The requested title is already in use by a dataset."}
            return self._version(request["slug"], request)

        def api_CreateDatasetVersion(self, request: dict[str, Any]) -> Any:
            return self._version(request["datasetSlug"], request["body"])

        def _versions(self, request: dict[str, Any]) -> list[dict[str, bytes]]:
            versions = server.datasets.get(request["datasetSlug"])
            if not versions:
                raise _RefusedError(403, "Permission 'datasets.get' was denied")
            return versions

        def api_GetDataset(self, request: dict[str, Any]) -> Any:
            slug, number = request["datasetSlug"], len(self._versions(request))
            return {"ref": slug, "currentVersionNumber": number, "isPrivate": slug not in server.public_datasets}

        def api_GetDatasetStatus(self, request: dict[str, Any]) -> Any:
            self._versions(request)
            return {
                "status": server.dataset_states.pop(0) if len(server.dataset_states) > 1 else server.dataset_states[0]
            }

        def api_ListDatasetFiles(self, request: dict[str, Any]) -> Any:
            files = self._versions(request)[request["datasetVersionNumber"] - 1]
            page, token = self._page(sorted(files.items()), request)
            return {"datasetFiles": [{"name": n, "totalBytes": len(b)} for n, b in page], "nextPageToken": token}

        def api_SaveKernel(self, request: dict[str, Any]) -> Any:
            if server.kernel_error:
                return {"error": server.kernel_error}
            slug = request["newTitle"].lower().replace(" ", "-")
            unknown = [d for d in request["datasetDataSources"] if d.partition("/")[2] not in server.datasets]
            server.kernels.setdefault(slug, []).append(request)
            number = len(server.kernels[slug])
            server.start(slug, number, request["text"])
            return {"ref": f"/code/{USER}/{slug}", "versionNumber": number, "invalidDatasetSources": unknown}

        def api_GetKernel(self, request: dict[str, Any]) -> Any:
            versions = server.kernels.get(request["kernelSlug"])
            if not versions:
                raise _RefusedError(403, "Permission 'kernels.get' was denied")
            metadata = {"slug": request["kernelSlug"], "currentVersionNumber": len(versions)}
            return {"metadata": metadata, "blob": {"source": versions[self._version_number(request) - 1]["text"]}}

        def _version_number(self, request: dict[str, Any]) -> int:
            """Return the number of the version that a request names as v<N>; of none it is about the newest."""
            newest = len(server.kernels.get(request["kernelSlug"], []))
            label = request.get("versionLabel") or f"v{newest}"
            number = re.fullmatch(r"v([1-9]\d*)", label)
            if number is None or int(number[1]) > newest:
                raise _RefusedError(404, "Kernel version not found")
            return int(number[1])

        def _session(self, request: dict[str, Any]) -> Session:
            return server.session_of(request["kernelSlug"], self._version_number(request))

        def api_GetKernelSessionStatus(self, request: dict[str, Any]) -> Any:
            states = self._session(request).states
            state = states.pop(0) if len(states) > 1 else states[0]
            return {"status": state, "failureMessage": "it raised" if state == "ERROR" else ""}

        def api_ListKernelSessionOutput(self, request: dict[str, Any]) -> Any:
            session = self._session(request)
            output = session.output
            server.hosted["blobs"].files = output
            url = f"https://{STORAGE}/blobs/file"
            page, token = self._page(list(output), request)
            files = [{"fileName": n, "url": f"{url}/{quote(n, safe='')}"} for n in page]
            return {"files": files, "log": session.log, "nextPageToken": token}

        def api_CreateCodeSubmission(self, request: dict[str, Any]) -> Any:
            h = self._joined(request)
            if not 0 < request["kernelVersion"] <= len(server.kernels.get(request["kernelSlug"], [])):
                raise _RefusedError(403, "Permission 'kernels.get' was denied")
            kernels_only, h.kernels_only = h.kernels_only, False
            token = f"code-{len(h.names)}"
            session = server.session_of(request["kernelSlug"], request["kernelVersion"])
            h.names[token], h.uploads[token] = request["fileName"], session.output[request["fileName"]]
            try:
                return self.api_CreateSubmission(request | {"blobFileTokens": token})
            finally:
                h.kernels_only = kernels_only

        # ---------------------------------------------------------------------------------------------- storage

        def do_GET(self) -> None:
            server.calls.append("storage")
            server.ranges.append(self.headers.get("Range", ""))
            if self.headers.get("Authorization"):
                return self._answer(400, b"the storage must not see the login")
            slug, _, rest = unquote(self.path.partition("?")[0]).lstrip("/").partition("/")
            fault = server.fault_for("storage")
            if fault and fault.before:
                fault.before()
            h = server.hosted[slug]
            name = rest.removeprefix("file/")
            packed = rest != "archive.zip" and name not in h.files and name.endswith(".zip")
            name = name.removesuffix(".zip") if packed else name
            data = h.archive if rest == "archive.zip" else h.files.get(name, b"")
            if packed:
                out = io.BytesIO()
                with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
                    archive.writestr(Path(name).name, data)
                data = out.getvalue()
            if fault and fault.hang_s:
                server.wait(fault.hang_s)
                return self._drop()
            if fault and fault.status:
                return self._answer(fault.status, fault.body, fault.headers)
            digest = server.digest(data)
            etag = f'"{digest.hex()}"'
            headers = {
                "ETag": etag,
                "Accept-Ranges": "bytes",
                "Content-Type": "application/json" if rest.endswith("json") else "application/octet-stream",
            }
            checksums = {"crc32c": server.crc32c(data)} if server.send_crc32c else {}
            checksums |= {"md5": digest} if server.send_md5 else {}
            if checksums:
                said = (f"{kind}={base64.b64encode(value).decode()}" for kind, value in checksums.items())
                headers["x-goog-hash"] = ",".join(said)
            status, start = 200, 0
            asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            if asked and self.headers.get("If-Range", etag) == etag:
                status, start = 206, int(asked[1])
                headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            sent = data[start:]
            if server.packs_on_the_way and "gzip" in self.headers.get("Accept-Encoding", ""):
                sent, headers["Content-Encoding"] = gzip.compress(sent), "gzip"
            if fault and fault.change:
                sent = fault.change(sent)
            return self._answer(status, sent, headers, fault)

        def do_PUT(self) -> None:
            server.calls.append("upload")
            slug, _, rest = self.path.partition("?")[0].lstrip("/").partition("/")
            token = rest.removeprefix("upload/")
            fault = server.fault_for("upload")
            h = server.hosted[slug]
            have = h.uploads.get(token, b"")
            span = self.headers.get("Content-Range", "")
            length = int(self.headers.get("Content-Length", 0))
            if fault and fault.cut_after is not None:
                h.uploads[token] = have + self.rfile.read(min(length, fault.cut_after))
                return self._drop()
            if fault and fault.hang_s:
                server.wait(fault.hang_s)
                return self._drop()
            body = self.rfile.read(length)
            server.bytes_uploaded += len(body)
            if fault and fault.status:
                return self._answer(fault.status, fault.body, fault.headers)
            if span.startswith("bytes */"):
                total = int(span.rpartition("/")[2])
                if len(have) < total:
                    return self._answer(308, b"", {"Range": f"bytes=0-{len(have) - 1}"} if have else {})
                return self._answer(200, b"")
            start = int(span.split()[1].partition("-")[0]) if span else 0
            h.uploads[token] = have[:start] + body
            if fault and fault.lose_answer:
                return self._drop()
            return self._answer(200, b"")

        # ---------------------------------------------------------------------------------------------- answers

        def _drop(self) -> None:
            self.close_connection = True
            with suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)

        def _answer(
            self, status: int, body: bytes, headers: dict[str, str] | None = None, fault: Fault | None = None
        ) -> None:
            self.send_response(status)
            given = headers or {}
            for key, value in ({"Content-Type": "application/json"} | given).items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            cut = fault.cut_after if fault else None
            piece = 2_000 if fault and fault.trickle_s else 1 << 16
            left = memoryview(body if cut is None else body[:cut])
            while left:
                if self.command == "GET":
                    # Before it is sent: a client that has the last byte may look at the count at once.
                    with server.lock:
                        server.bytes_sent += len(left[:piece])
                self.wfile.write(left[:piece])
                left = left[piece:]
                if fault and fault.trickle_s:
                    server.wait(fault.trickle_s)
            if cut is not None:
                self._drop()

    return Handler


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


if __name__ == "__main__":  # pragma: no cover - to try the program by hand
    import sys

    with served() as running:
        home = Path(sys.argv[1])
        for folder in sys.argv[2:]:
            name, _, words = Path(folder).name.partition("=")
            running.host(name, Path(folder), metric=words or "Accuracy")
        print("\n".join(f"export {k}={v}" for k, v in running.environment(home).items()), flush=True)
        time.sleep(10**6)
