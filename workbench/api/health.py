"""The checks of `wb doctor`."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path
from typing import Any

from workbench.core.distribution import other_workbench
from workbench.core.errors import BusyError, WorkbenchError
from workbench.core.threads import available_cores
from workbench.core.wording import counted
from workbench.data.workspace import Workspace

__all__ = ["run_checks"]

LOW_DISK_BYTES = 5 * 2**30
FULL_DISK_BYTES = 2**28
LOW_MEMORY_BYTES = 2 * 2**30


def run_checks(workspace: Workspace | None, problem: WorkbenchError | None = None) -> list[dict[str, Any]]:
    """Run the checks and return their results, each {"name", "level", "ok", "detail"}.

    The level is "ok", "note" (nothing is broken, but there is something to know or do) or "bad" (something has to be
    fixed). "ok" is False only for "bad".

    Parameters
    ----------
    workspace : Workspace, or None
        None outside of a workspace.
    problem : WorkbenchError, optional
        Why the workspace can't be used.
    """
    checks = [
        _versions(),
        _memory(),
        _check("cores", "ok", f"{available_cores()} usable of {os.cpu_count()}"),
    ]
    checks += _other_workbench()
    checks.append(_login())
    if workspace is None:
        return [*checks, _no_workspace(problem)]
    checks += [_check("workspace", "ok", str(workspace.root)), _disk(workspace.root), _writable(workspace.root)]
    checks += _locks(workspace.submissions)
    checks.append(_ledger(workspace))
    return checks + [_competition(workspace, slug) for slug in workspace.slugs()]


def _check(name: str, level: str, detail: str) -> dict[str, Any]:
    """Return the result of a check, as `run_checks` describes it."""
    return {"name": name, "level": level, "ok": level != "bad", "detail": detail}


def _error_text(exc: WorkbenchError) -> str:
    return f"{exc.message}. {exc.hint}" if exc.hint else exc.message


def _no_workspace(problem: WorkbenchError | None) -> dict[str, Any]:
    if problem is not None:
        return _check("workspace", "bad", _error_text(problem))
    return _check("workspace", "note", "none here or above: `wb init DIR` creates one, or set WB_WORKSPACE")


def _versions() -> dict[str, Any]:
    from workbench.experiments.versions import versions

    by_name = versions() | {"system": f"{platform.system()} {platform.machine()}"}
    return _check("versions", "ok", ", ".join(f"{name} {version}" for name, version in by_name.items()))


def _other_workbench() -> list[dict[str, Any]]:
    problem = other_workbench()
    return [_check("installation", "bad", problem)] if problem else []


def _login() -> dict[str, Any]:
    from workbench.platforms.kaggle import Kaggle, Patience

    state = Kaggle(patience=Patience(connect_s=5, answer_s=15, tries=2)).login()
    return _check("kaggle login", "bad" if not state.ok else "note" if state.is_note else "ok", state.detail)


def _memory() -> dict[str, Any]:
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        total, free = (int(lines[k].split()[0]) * 1024 for k in ("MemTotal", "MemAvailable"))
    except (OSError, KeyError, ValueError):
        return _check("memory", "note", "unknown on this system: set the limit with --memory-limit")
    detail = f"{free / 2**30:.1f} GB free of {total / 2**30:.1f} GB"
    if free > LOW_MEMORY_BYTES:
        return _check("memory", "ok", detail)
    return _check("memory", "note", f"{detail}: little for large tables; close other programs, or use --memory-limit")


def _disk(root: Path) -> dict[str, Any]:
    usage = shutil.disk_usage(root)
    detail = f"{usage.free / 2**30:.1f} GB free of {usage.total / 2**30:.1f} GB"
    if usage.free > LOW_DISK_BYTES:
        return _check("disk", "ok", detail)
    advice = "`wb cache --prune` removes blocks that no feature uses any more"
    if usage.free > FULL_DISK_BYTES:
        return _check("disk", "note", f"{detail}: little for a download; {advice}")
    return _check("disk", "bad", f"{detail}: nothing can be fetched or run; {advice}")


def _writable(root: Path) -> dict[str, Any]:
    not_writable = [
        p for p in (root, root / "competitions", root / "submissions") if p.exists() and not os.access(p, os.W_OK)
    ]
    if not not_writable:
        return _check("writable", "ok", str(root))
    return _check("writable", "bad", f"{not_writable[0]} can't be written by this user")


def _locks(folder: Path) -> list[dict[str, Any]]:
    """Return a note if other machines do not see the drive's locks; else nothing."""
    from workbench.core.locks import unshared_drive

    drive = unshared_drive(folder)
    if drive is None:
        return []
    text = f"on this drive ({drive}) other machines do not see locks: use the workspace on one machine at a time"
    return [_check("locks", "note", text)]


def _ledger(workspace: Workspace) -> dict[str, Any]:
    from workbench.ledger import Ledger

    where = workspace.ledger
    if isinstance(where, Path) and not where.exists():
        return _check("ledger", "ok", f"{where} (created at the first run)")
    try:
        with Ledger.open(where) as ledger:
            state = ledger.check()
    except BusyError as exc:
        return _check("ledger", "note", _error_text(exc))
    except WorkbenchError as exc:
        return _check("ledger", "bad", _error_text(exc))
    return _check("ledger", "ok", ", ".join(f"{k} {v}" for k, v in state.items()))


def _competition(workspace: Workspace, slug: str) -> dict[str, Any]:
    """Check a competition's definition and tables."""
    from workbench.data.competition import check_table, has_manifest, load_competition, read_file_options

    name, folder = f"competition {slug}", workspace.competitions / slug
    if not (folder / "competition.toml").exists():
        # After `wb rehearse`, or a fetch that was interrupted.
        return _check(name, "note", f"not fetched yet: `wb fetch {slug}` downloads its data")
    try:
        if read_file_options(folder / "competition.toml").is_draft:
            return _check(
                name, "note", f"competition.toml has options for reading files; `wb fetch {slug}` completes it"
            )
        competition = load_competition(workspace, slug)
        if not has_manifest(competition.paths.tables):
            return _check(name, "note", f"defined, but without data: `wb fetch {slug}` downloads it")
        for info in competition.manifest.tables.values():
            check_table(competition.paths.tables, info, slug=slug, full=True)
        _ = competition.rows.columns, competition.metric
    except WorkbenchError as exc:
        return _check(name, "bad", _error_text(exc))
    total_bytes = sum(i.size_bytes for i in competition.manifest.tables.values())
    return _check(
        name, "ok", f"{counted(len(competition.manifest.tables), 'table')}, {total_bytes / 2**20:,.1f} MB, undamaged"
    )
