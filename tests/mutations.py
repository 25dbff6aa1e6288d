"""Mutation testing: change the code a little and see whether a test fails: `python -m tests.mutations`.

Mutations are drawn by a seed from the areas below, except in the texts of messages. Each is made in a copy of the tree, in
which the tests of its area run until one fails. Survivors are printed with file and line: there a test is missing, or the
code has no effect.

    python -m tests.mutations --seed 1 --number 120
    python -m tests.mutations --area folds --number 10
    python -m tests.mutations --area tuning --path workbench/tuning/space.py --number 30
    python -m tests.mutations --only workbench/models/folds.py:128:15:0
"""

from __future__ import annotations

import argparse
import ast
import itertools
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path

ROOT = Path(__file__).parents[1]
MOST_SECONDS = 900
"""A mutation whose tests take longer than this counts as caught: the tests as they are take a fraction of it."""

NO_TESTS = 5
"""How pytest ends where there was nothing to run: no test of the area is slow."""

AREAS: dict[str, tuple[list[str], list[str]]] = {
    "folds": (["models/folds.py"], ["test_folds.py", "test_time_folds.py"]),
    "encodings": (["features/encodings/*.py"], ["test_encodings.py"]),
    "matrix": (["features/matrix.py", "features/encoded.py"], ["test_matrix.py", "test_codes.py", "test_precision.py"]),
    "rounds": (
        ["models/rounds.py", "models/fold_data.py", "models/training_columns.py"],
        ["test_rounds.py", "test_fold_data.py", "test_learners.py"],
    ),
    "weights": (
        ["models/weights.py", "models/row_weights.py"],
        ["test_weights.py", "test_losses.py", "test_training.py"],
    ),
    "losses": (
        ["models/losses.py", "models/transforms.py"],
        ["test_transforms.py", "test_losses.py", "test_training.py"],
    ),
    "metrics": (["metrics/*.py"], ["test_metrics.py", "test_positive.py", "test_nulls.py"]),
    "intervals": (
        ["core/intervals.py", "review/table.py"],
        ["test_intervals.py", "test_review.py", "test_optimistic.py"],
    ),
    "tuning": (
        ["tuning/*.py"],
        [
            "test_tuning_plan.py",
            "test_tuning_space.py",
            "test_tuning_search.py",
            "test_search_order.py",
            "test_study_state.py",
            "test_tuning_study.py",
            "test_tuning.py",
        ],
    ),
    "selection": (["analysis/selection/*.py"], ["test_selection_methods.py", "test_selection.py"]),
    "cache": (
        ["core/cache.py", "core/locks.py", "core/temporary.py"],
        ["test_cache.py", "test_locks.py", "test_temporary.py", "test_blocks.py"],
    ),
    "memory": (
        ["core/memory.py", "core/threads.py"],
        ["test_memory.py", "test_machine.py", "test_threads.py", "test_memory_asked.py"],
    ),
    "ledger": (["ledger/*.py"], ["test_ledger.py"]),
    "submissions": (
        ["submissions/*.py"],
        [
            *("test_submission_findings.py", "test_submission_follow.py", "test_submission_send.py"),
            *("test_list_findings.py", "test_submission.py", "test_sent_once.py", "test_submit_faults.py"),
        ],
    ),
    "current": (
        ["experiments/current_runs.py", "experiments/earlier_keys.py"],
        [
            "test_current_runs_compared.py",
            "test_earlier_keys.py",
            "test_current_runs.py",
            "test_optimistic.py",
            "test_pinned.py",
        ],
    ),
    "predictions": (
        ["experiments/predictions.py", "models/serving/*.py"],
        [
            "test_submission_file.py",
            "test_learned.py",
            "test_bundle.py",
            "test_predict.py",
            "test_keys.py",
            "test_served_columns.py",
            "test_run.py",
        ],
    ),
    "recommender": (
        ["recommender/windows.py", "recommender/validation.py", "platforms/interactions.py"],
        [
            "test_windows.py",
            "test_validation.py",
            "test_interactions.py",
            "test_recommender.py",
            "test_recommender_validation.py",
            "test_ranker.py",
        ],
    ),
    "kernels": (
        ["kernels/*.py"],
        [
            *("test_kernel_push_steps.py", "test_kernel_hidden.py", "test_kernel_build.py", "test_kernel_rehearse.py"),
            *("test_kernels.py", "test_kernel_push.py"),
        ],
    ),
    "archives": (
        ["core/packed.py", "data/ingest/archives.py", "data/ingest/tars.py"],
        ["test_archives.py", "test_hostile_files.py", "test_formats.py"],
    ),
}
"""By area the modules that are broken, from `workbench/`, and the names of the tests that cover them."""

COMPARED = {
    ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "==",
    ast.In: "not in", ast.NotIn: "in", ast.Is: "is not", ast.IsNot: "is",
}  # fmt: skip
COMPUTED = {ast.Add: "-", ast.Sub: "+", ast.Mult: "/", ast.Div: "*", ast.FloorDiv: "/", ast.BitAnd: "|", ast.BitOr: "&"}
RENAMED = {"min": "max", "max": "min", "any": "all", "all": "any", "sorted": "list", "floor": "ceil", "ceil": "floor"}
SAYING = (
    "report",
    "say",
    "note",
    "echo",
    "info",
    "debug",
    "warning",
    "error",
    "append_note",
    "fsync",
    "remove_leftover_files",
)
"""Calls of these names only tell, or guard against a loss of power that no test can make."""


@dataclass(frozen=True)
class Mutation:
    """A change of a piece of a file: from one offset to another, in bytes of UTF-8."""

    area: str
    path: str
    line: int
    start: int
    end: int
    text: str
    was: str

    @property
    def name(self) -> str:
        return f"{self.path}:{self.line}:{self.start}:{self.text}"

    def __str__(self) -> str:
        return f"{self.path}:{self.line}  {' '.join(self.was.split())[:60]}  ->  {self.text[:60]}"

    def applied(self, data: bytes) -> bytes:
        return data[: self.start] + self.text.encode() + data[self.end :]


class _Places(ast.NodeVisitor):
    """Collects the changes of a module; what is raised, logged, documented or typed is passed over."""

    def __init__(self, data: bytes) -> None:
        self.data, self.found = data, list[tuple[int, int, int, str]]()
        self.starts = [0]
        for line in data.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))

    def at(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self.starts[node.lineno - 1] + node.col_offset, self.starts[node.end_lineno - 1] + node.end_col_offset

    def put(self, node: ast.expr | ast.stmt, text: str) -> None:
        self.found.append((node.lineno, *self.at(node), text))

    def text(self, node: ast.expr | ast.stmt) -> str:
        start, end = self.at(node)
        return self.data[start:end].decode()

    def between(self, left: ast.expr, right: ast.expr, text: str) -> None:
        """Replace the operator between two operands."""
        start, end = self.at(left)[1], self.at(right)[0]
        gap = self.data[start:end].decode()
        if not set(gap) & set("()#\n"):
            self.found.append((left.lineno, start, end, f" {text} "))

    def visit_Raise(self, node: ast.Raise) -> None:
        del node

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        del node

    def visit_Assign(self, node: ast.Assign) -> None:
        # A limit that somebody has chosen: one more or less is as good.
        if not all(isinstance(t, ast.Name) and t.id.isupper() for t in node.targets):
            self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        # Of the decorators "frozen" speaks, which `tests/test_this_tree.py` holds for all of them.
        for statement in node.body:
            self.visit(statement)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        if node.name.startswith("__") or any("overload" in ast.unparse(d) for d in node.decorator_list):
            return
        for default in (*node.args.defaults, *(d for d in node.args.kw_defaults if d is not None)):
            self.visit(default)
        for statement in node.body:
            self.visit(statement)

    def visit_Call(self, node: ast.Call) -> None:
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name in SAYING or "Error" in name:
            return
        if isinstance(node.func, ast.Name) and name in RENAMED:
            self.put(node.func, RENAMED[name])
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        for left, operator, right in zip([node.left, *node.comparators], node.ops, node.comparators, strict=False):
            self.between(left, right, COMPARED[type(operator)])
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if type(node.op) in COMPUTED and not any(isinstance(n, ast.JoinedStr) for n in ast.walk(node)):
            self.between(node.left, node.right, COMPUTED[type(node.op)])
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        other = "or" if isinstance(node.op, ast.And) else "and"
        for left, right in zip(node.values, node.values[1:], strict=False):
            self.between(left, right, other)
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.Not):
            self.put(node, f"({self.text(node.operand)})")
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, bool):
            self.put(node, str(not node.value))
        elif isinstance(node.value, int) and node.value < 1000:
            self.put(node, str(node.value + 1))
        elif isinstance(node.value, float):
            self.put(node, f"{node.value * 2 + 0.5!r}")

    def visit_If(self, node: ast.If) -> None:
        if ast.unparse(node.test) == "TYPE_CHECKING":
            return
        self.put(node.test, f"not ({self.text(node.test)})")
        self.generic_visit(node)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self.put(node.test, f"not ({self.text(node.test)})")
        self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Call):
            name = getattr(node.value.func, "attr", getattr(node.value.func, "id", ""))
            if name not in SAYING:
                self.put(node, "pass")
            self.generic_visit(node)


def mutations(area: str) -> list[Mutation]:
    """Return all mutations of an area, in the order of its files."""
    found = []
    for pattern in AREAS[area][0]:
        paths = sorted((ROOT / "workbench").glob(pattern))
        if not paths:
            raise SystemExit(f"{area}: there is no workbench/{pattern}")
        for path in paths:
            data = path.read_bytes()
            places = _Places(data)
            places.visit(ast.parse(data))
            name = str(path.relative_to(ROOT))
            found += [Mutation(area, name, line, a, b, text, data[a:b].decode()) for line, a, b, text in places.found]
    return found


def drawn(areas: list[str], number: int, seed: int, paths: list[str] | None = None) -> list[Mutation]:
    """Return so many mutations, of each area as many as of the others, by a seed; those of some modules alone."""
    rng = random.Random(seed)
    those = [[m for m in mutations(area) if paths is None or m.path in paths] for area in areas]
    of_areas = [rng.sample(m, len(m)) for m in those]
    turns = (m for together in zip(*map(_padded(number), of_areas), strict=True) for m in together if m is not None)
    return list(turns)[:number]


def _test_file(name: str) -> str:
    (path,) = (ROOT / "tests").rglob(name)
    return str(path.relative_to(ROOT))


def _padded(number: int):  # type: ignore[no-untyped-def]
    return lambda of_area: [*of_area[:number], *[None] * (number - len(of_area))]


@dataclass(frozen=True)
class Outcome:
    mutation: Mutation
    is_caught: bool
    by: str
    seconds: float


class Tree:
    """A copy of the tree, and a process that runs tests on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._passing = set[tuple[str, str]]()
        environment = {n: v for n, v in os.environ.items() if n not in ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE")}
        # Where others run pytest beside it, their folders are swept by whoever comes first: an error that no mutation made.
        environment["PYTEST_DEBUG_TEMPROOT"] = str(folder.parent)
        command = [sys.executable, "-P", str(Path(__file__).with_name("warm_pytest.py"))]
        self._pytest = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        if failure := self.failure(["tests/models/test_memory_estimate.py"]):
            raise SystemExit(f"without any mutation: {failure}")

    def tried(self, mutation: Mutation, *, quick: bool = False) -> Outcome:
        """Run the tests of a mutation's area on it, the slow ones last, and set the file back."""
        path = self.folder / mutation.path
        before, started = path.read_bytes(), time.monotonic()
        try:
            _write(path, mutation.applied(before))
            by = self._failure(mutation, "not slow")
            if not by and not quick:
                by = self._failure(mutation, "slow")
        finally:
            _write(path, before)
        is_caught = bool(by) and self._passes(mutation.path, by)
        return Outcome(mutation, is_caught, by, time.monotonic() - started)

    def _passes(self, path: str, by: str) -> bool:
        """Tell whether the test that has caught a mutation passes without it; looked at once for each test and module.

        One that fails here anyhow, as some may beside the module's doctests, would catch whatever comes.
        """
        test = by.removeprefix("FAILED ").partition(" - ")[0].partition("[")[0]
        if not by.startswith("FAILED ") or (path, test) in self._passing:
            return True
        if failure := self.failure(["--doctest-modules", path, test]):
            print(f"without any mutation of {path}: {failure}", flush=True)
            return False
        self._passing.add((path, test))
        return True

    def _failure(self, mutation: Mutation, which: str) -> str:
        """Return what failed of the area's tests, or that they took too long; empty where nothing did."""
        stem = Path(mutation.path).stem
        # Those that are called as the module is are the likeliest to notice.
        tests = sorted(AREAS[mutation.area][1], key=lambda name: stem not in name)
        # The module's doctests come last: collected first, they would make a second module of it, with other classes.
        return self.failure(["-m", which, "--doctest-modules", *map(_test_file, tests), mutation.path])

    def failure(self, arguments: list[str]) -> str:
        """Run pytest, and return what failed, or that it took too long; empty where nothing did."""
        output = self.folder.with_suffix(".out")
        options = ["-x", "-q", "-p", "no:cacheprovider", "-o", f"faulthandler_timeout={MOST_SECONDS // 2}"]
        job = {"folder": str(self.folder), "arguments": [*options, *arguments], "output": str(output)}
        assert self._pytest.stdin is not None
        assert self._pytest.stdout is not None
        self._pytest.stdin.write(json.dumps(job | {"seconds": MOST_SECONDS}) + "\n")
        self._pytest.stdin.flush()
        code = json.loads(self._pytest.stdout.readline())
        if code is None:
            return "it took too long"
        if code in (0, NO_TESTS):
            return ""
        lines = output.read_text(errors="replace").strip().splitlines()
        failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
        return (failed or lines[-1:] or [f"it ended with {code}"])[0]

    def close(self) -> None:
        """End its process."""
        self._pytest.communicate()


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    # Bytecode is told from older by the second of the source, and its size: no two may have the same.
    second = next(_SECONDS)
    os.utime(path, (second, second))


_SECONDS = itertools.count(int(time.time()))


def _trees(number: int, scratch: Path) -> Iterator[Tree]:
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    for n in range(number):
        tree = scratch / f"tree-{n}"
        for name in filter(None, files):
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tree / name)
        yield Tree(tree)


def _known(out: Path, chosen: list[Mutation]) -> Iterator[Outcome]:
    for told in map(json.loads, out.read_text().splitlines()):
        mutation = Mutation(**{f.name: told[f.name] for f in fields(Mutation)})
        if mutation in chosen:
            yield Outcome(mutation, told["caught"], told["by"], 0.0)


def main() -> None:
    """Draw, try, and print what survived."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutations", description=__doc__.split("\n\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--number", type=int, default=120)
    parser.add_argument("--area", action="append", choices=AREAS)
    parser.add_argument("--path", action="append", help="a module, from the root: those of other modules are left out")
    parser.add_argument("--quick", action="store_true", help="leave out the slow tests, which else try what survives")
    parser.add_argument("--only", help="the name of one, as it was printed")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--out", type=Path, help="a file for each outcome as a line of JSON; what it has is not tried again"
    )
    asked = parser.parse_args()
    areas = asked.area or list(AREAS)
    chosen = drawn(areas, asked.number, asked.seed, asked.path)
    if asked.only:
        chosen = [m for area in areas for m in mutations(area) if m.name == asked.only]
    outcomes = list(_known(asked.out, chosen)) if asked.out and asked.out.exists() else []
    chosen = [m for m in chosen if m not in {o.mutation for o in outcomes}]
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(asked.workers) as pool:
        free = list(_trees(asked.workers, Path(scratch)))

        def one(mutation: Mutation) -> Outcome:
            tree = free.pop()
            try:
                return tree.tried(mutation, quick=asked.quick)
            finally:
                free.append(tree)

        for outcome in pool.map(one, chosen):
            outcomes.append(outcome)
            mark = "caught  " if outcome.is_caught else "SURVIVED"
            print(f"{mark} {outcome.seconds:5.0f} s  [{outcome.mutation.area}] {outcome.mutation}", flush=True)
            if asked.out:
                told = vars(outcome.mutation) | {"caught": outcome.is_caught, "by": outcome.by}
                with asked.out.open("a") as file:
                    file.write(json.dumps(told) + "\n")
        for tree in free:
            tree.close()
    for area in areas:
        of_area = [o for o in outcomes if o.mutation.area == area]
        print(f"{area:14} {sum(o.is_caught for o in of_area):3} of {len(of_area):3} caught")
    left = [o for o in outcomes if not o.is_caught]
    print(f"{len(outcomes) - len(left)} of {len(outcomes)} caught; survivors:")
    for outcome in left:
        print(f"  {outcome.mutation}\n    --only '{outcome.mutation.name}'")


if __name__ == "__main__":
    main()
