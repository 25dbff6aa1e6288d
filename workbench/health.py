"""What `wb doctor` looks at: each check says what it saw and whether that is well."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path
from typing import Any

from workbench.distribution import other_workbench
from workbench.errors import NotFoundError, WorkbenchError
from workbench.workspace import Workspace

__all__ = ["look"]

LOW_DISK_BYTES = 5 * 2**30
LOW_MEMORY_BYTES = 2 * 2**30


def look(workspace: Workspace | None) -> list[dict[str, Any]]:
    """Return the checks, each {"name", "ok", "detail"}; `workspace` is None outside one."""
    checks = [
        _versions(),
        _memory(),
        _check("cores", True, f"{len(os.sched_getaffinity(0))} usable of {os.cpu_count()}"),
    ]
    checks += _other_workbench()
    checks.append(_login())
    if workspace is None:
        return [*checks, _check("workspace", False, "none here or above: `wb init DIR` makes one, or set WB_WORKSPACE")]
    checks += [_check("workspace", True, str(workspace.root)), _disk(workspace.root), _writable(workspace.root)]
    checks.append(_ledger(workspace))
    return checks + [_competition(workspace, slug) for slug in workspace.slugs()]


def _check(name: str, ok: bool, detail: str) -> dict[str, Any]:
    return {"name": name, "ok": ok, "detail": detail}


def _versions() -> dict[str, Any]:
    from workbench.experiment.measure import versions

    found = versions() | {"system": f"{platform.system()} {platform.machine()}"}
    return _check("versions", "unknown" not in found.values(), ", ".join(f"{k} {v}" for k, v in found.items()))


def _other_workbench() -> list[dict[str, Any]]:
    other = other_workbench()
    return [_check("installation", False, other)] if other else []


def _login() -> dict[str, Any]:
    from workbench.kaggle_platform import Kaggle, Patience

    state = Kaggle(patience=Patience(connect_s=5, answer_s=15, tries=2)).login()
    return _check("kaggle login", state.ok, state.detail)


def _memory() -> dict[str, Any]:
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        total, free = (int(lines[k].split()[0]) * 1024 for k in ("MemTotal", "MemAvailable"))
    except (OSError, KeyError, ValueError):
        return _check("memory", True, "not known on this system")
    return _check("memory", free > LOW_MEMORY_BYTES, f"{free / 2**30:.1f} GB free of {total / 2**30:.1f} GB")


def _disk(root: Path) -> dict[str, Any]:
    usage = shutil.disk_usage(root)
    return _check(
        "disk", usage.free > LOW_DISK_BYTES, f"{usage.free / 2**30:.1f} GB free of {usage.total / 2**30:.1f} GB"
    )


def _writable(root: Path) -> dict[str, Any]:
    ok = os.access(root, os.W_OK)
    return _check("writable", ok, str(root) if ok else f"{root} can't be written by this user")


def _ledger(workspace: Workspace) -> dict[str, Any]:
    from workbench.ledger import Ledger

    where = workspace.ledger
    if isinstance(where, Path) and not where.exists():
        return _check("ledger", True, f"{where} (made at the first run)")
    try:
        with Ledger.open(where) as ledger:
            state = ledger.check()
    except WorkbenchError as exc:
        return _check("ledger", False, f"{exc.message}. {exc.hint}")
    return _check("ledger", True, ", ".join(f"{k} {v}" for k, v in state.items()))


def _competition(workspace: Workspace, slug: str) -> dict[str, Any]:
    from workbench.competition import check_table, load_competition

    name = f"competition {slug}"
    try:
        competition = load_competition(workspace, slug)
        for info in competition.manifest.tables.values():
            check_table(competition.tables_folder, info, slug=slug, full=True)
    except NotFoundError as exc:
        return _check(name, True, f"{exc.message}. {exc.hint}")
    except WorkbenchError as exc:
        return _check(name, False, f"{exc.message}. {exc.hint}")
    size = sum(i.size_bytes for i in competition.manifest.tables.values())
    return _check(name, True, f"{len(competition.manifest.tables)} tables, {size / 2**20:,.1f} MB, all as written")
