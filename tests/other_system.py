"""A stand-in for macOS or Windows on Linux, for tests: ``python -m tests.other_system win32 table -c small``.

It runs `wb`, or with ``imports`` in place of a command imports every module, in a process in which the code of the
workbench sees what typeshed says that the other system has: modules and names that it lacks can't be imported, and
`sys.platform` has its value. There is no /proc and no /sys. For Windows, text files have another encoding and other ends
of lines by default, folders can't be opened, and files that this process has open can be neither replaced nor removed.

It is a stand-in, not the system: other packages see Linux, paths are those of Linux, and a lock of Windows also prevents
others from reading the bytes that are locked. What it shows is that nothing of the workbench needs what is missing there.
"""

from __future__ import annotations

import ast
import builtins
import errno
import functools
import importlib
import inspect
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

OWN = ("workbench", "kaggle_workbench")
SCRIPTS = ("workbench.core.isolation.launcher", "workbench.core.notebook_worker.worker")
"""Modules that only processes of notebooks and kernels import, which Windows does not have."""


# ------------------------------------------------------------------------------------------------- names of the system


@functools.cache
def names(module: str, system: str) -> frozenset[str] | None:
    """Return the names that typeshed gives a module of the standard library on a system; None if it has no such module."""
    import mypy

    stubs = Path(mypy.__file__).parent / "typeshed" / "stdlib" / module.replace(".", "/")
    stub = next((p for p in (stubs.with_suffix(".pyi"), stubs / "__init__.pyi") if p.exists()), None)
    return None if stub is None else frozenset(_names(ast.parse(stub.read_text("utf-8")).body, system))


def _names(body: list[ast.stmt], system: str) -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.If):
            values = {"platform": system, "version_info": sys.version_info, "implementation": sys.implementation}
            test = compile(ast.Expression(node.test), "stub", "eval")
            yield from _names(node.body if eval(test, {"sys": SimpleNamespace(**values)}) else node.orelse, system)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.AnnAssign | ast.Assign):
            targets = [node.target] if isinstance(node, ast.AnnAssign) else node.targets
            yield from (t.id for t in targets if isinstance(t, ast.Name))
        elif isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
            yield from names(str(node.module), system) or ()
        elif isinstance(node, ast.ImportFrom | ast.Import):
            # A stub exports what it imports under the same name only ("Import Conventions" in the typing specification).
            yield from (alias.name for alias in node.names if alias.asname == alias.name)


def missing(module: str, system: str) -> frozenset[str]:
    """Return the names of a module of the standard library that Linux has and the system lacks."""
    return (names(module, "linux") or frozenset()) - (names(module, system) or frozenset())


def is_missing(module: str, system: str) -> bool:
    """Tell whether the system lacks a module of the standard library."""
    public = [{n for n in names(module, s) or () if not n.startswith("_")} for s in (system, "linux")]
    return not public[0] and bool(public[1])


class _View(ModuleType):
    """A module as the system has it."""

    def __init__(self, real: ModuleType, system: str, **values: Any) -> None:
        super().__init__(real.__name__)
        self.__dict__.update({"_real": real, "_missing": missing(real.__name__, system), **values})

    def __getattr__(self, name: str) -> Any:
        if name in self.__dict__["_missing"]:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r} on this system")
        return getattr(self.__dict__["_real"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.__dict__["_real"], name, value)


def _kill(pid: int, number: int) -> None:
    raise AssertionError(f"os.kill({pid}, {number}) ends a process on Windows, or sends Ctrl-C to it")


def replace_imports(system: str) -> None:
    """Let the imports of the workbench, and of nothing else, find the modules as the system has them."""
    real_import = builtins.__import__
    values: dict[str, dict[str, Any]] = {"sys": {"platform": system}}
    if system == "win32":
        values["os"] = {"name": "nt", "kill": _kill}
        sys.modules["msvcrt"] = _msvcrt()
    views: dict[str, _View] = {}

    def view(module: Any) -> Any:
        name = getattr(module, "__name__", "")
        if name not in sys.stdlib_module_names or not (missing(name, system) or name in values):
            return module
        return views.setdefault(name, _View(module, system, **values.get(name, {})))

    def import_(name: str, importer: Any = None, *more: Any, **options: Any) -> Any:
        if (importer or {}).get("__name__", "").partition(".")[0] not in OWN:
            return real_import(name, importer, *more, **options)
        if name in sys.stdlib_module_names and is_missing(name, system):
            raise ModuleNotFoundError(f"No module named {name!r} on this system", name=name)
        return view(real_import(name, importer, *more, **options))

    builtins.__import__ = import_


# --------------------------------------------------------------------------------------------------------------- files


def _called_by(module: str) -> bool:
    """Tell whether a replaced function was called by a module of the standard library that has other code on Windows."""
    frame = inspect.currentframe()
    for _ in range(2):
        frame = frame and frame.f_back
    return frame is not None and frame.f_globals.get("__name__") == module


def _is_hidden(path: Any) -> bool:
    return isinstance(path, str | bytes | os.PathLike) and os.fsdecode(path).startswith(("/proc/", "/sys/"))


def _hide(owner: Any, name: str) -> None:
    real = getattr(owner, name)

    @functools.wraps(real)
    def replaced(path: Any = ".", *more: Any, **options: Any) -> Any:
        if _is_hidden(path):
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", os.fsdecode(path))
        return real(path, *more, **options)

    setattr(owner, name, replaced)


def _refuse_open_files() -> None:
    """Refuse to replace or remove a file that this process has open, as Windows does."""
    readlink, listdir = os.readlink, os.listdir

    def open_files() -> set[str]:
        paths = set()
        for descriptor in listdir("/proc/self/fd"):
            try:
                paths.add(readlink(f"/proc/self/fd/{descriptor}"))
            except OSError:  # of the list itself
                continue
        return paths

    def guard(name: str) -> None:
        real = getattr(os, name)

        @functools.wraps(real)
        def replaced(path: Any, *more: Any, **options: Any) -> Any:
            for each in () if _called_by("tempfile") else (path, *more[:1]):
                if isinstance(each, str | os.PathLike) and os.path.realpath(each) in open_files():
                    raise PermissionError(errno.EACCES, "The process cannot access the file", str(each))
            return real(path, *more, **options)

        setattr(os, name, replaced)

    for name in ("replace", "rename", "remove", "unlink"):
        guard(name)


def _open_as_windows() -> None:
    real_io, real_os = io.open, os.open

    @functools.wraps(real_io)
    def open_text(
        file: Any,
        mode: str = "r",
        buffering: int = -1,
        encoding: Any = None,
        errors: Any = None,
        newline: Any = None,
        **more: Any,
    ) -> Any:
        if "b" not in mode:
            encoding = "cp1252" if encoding in (None, "locale") else encoding
            newline = "\r\n" if newline is None and mode.strip("t+") != "r" else newline
        return real_io(file, mode, buffering, encoding, errors, newline, **more)

    @functools.wraps(real_os)
    def open_descriptor(path: Any, *more: Any, **options: Any) -> int:
        if Path(path).is_dir() and not _called_by("tempfile"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real_os(path, *more, **options)

    io.open = builtins.open = open_text
    os.open = open_descriptor


def _msvcrt() -> ModuleType:
    """Return a module with the one function that is used, made of the locks that Linux has for each open file."""
    import fcntl
    import struct

    module = ModuleType("msvcrt")
    module.LK_UNLCK, module.LK_LOCK, module.LK_NBLCK = 0, 1, 2  # type: ignore[attr-defined]

    def locking(descriptor: int, mode: int, n_bytes: int) -> None:
        kind = fcntl.F_UNLCK if mode == 0 else fcntl.F_WRLCK
        start = os.lseek(descriptor, 0, os.SEEK_CUR)
        try:
            request = struct.pack("hhqqi4x", kind, os.SEEK_SET, start, n_bytes, 0)
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, request)
        except OSError as exc:
            raise PermissionError(errno.EACCES, "Permission denied") from exc

    module.locking = locking  # type: ignore[attr-defined]
    return module


# -------------------------------------------------------------------------------------------------------------- a run


def become(system: str) -> None:
    """Make this process a stand-in for the system; nothing of the workbench may be imported yet."""
    if any(name.partition(".")[0] in OWN for name in sys.modules):
        raise RuntimeError("the workbench was imported before")
    replace_imports(system)
    if system == "win32":
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(encoding="cp1252")  # type: ignore[union-attr]
        _refuse_open_files()
        _open_as_windows()
    for owner, name in (
        *((os, n) for n in ("open", "stat", "lstat", "readlink", "listdir", "scandir")),
        (io, "open"),
        (builtins, "open"),
    ):
        _hide(owner, name)


def modules() -> list[str]:
    """Return the names of all modules of the workbench that are not scripts."""
    root = Path(__file__).parents[1]
    paths = [p.relative_to(root).with_suffix("") for p in sorted((root / "workbench").rglob("*.py"))]
    dotted = [".".join(p.parts).removesuffix(".__init__") for p in paths if all(map(str.isidentifier, p.parts))]
    return [n for n in dotted if n not in SCRIPTS and not n.endswith(("__main__", ".env")) and ".standin" not in n]


def main(system: str, arguments: list[str]) -> None:
    become(system)
    if arguments == ["imports"]:
        for name in modules():
            importlib.import_module(name)
        print(len(modules()))
    elif arguments[:1] == ["python"]:
        # As a module of the workbench, which sees the system.
        exec(compile(arguments[1], "given", "exec"), {"__name__": "workbench.given"})
    else:
        from workbench.cli import main as wb

        wb(arguments)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
