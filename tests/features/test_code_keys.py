"""Keys of code: a change rebuilds exactly what depends on it, wherever it is written."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from workbench.core.errors import ConfigError, FeatureError
from workbench.data.competition import load_code
from workbench.features import ROW, Blocks, code_key, code_key_of, code_keys, load_features, recipes
from workbench.features.code_modules import Module, code_files, code_files_of

FILES = {
    "features.py": '''
import polars as pl
import workbench as wb
from workbench import features as f
from workbench.features import ROW, counts, feature
from tools import clean, unused
import words
import pieces.cut as cut
from pieces import glue
from lists import *

SCALE = 2
TABLE = {"x": 1}
TABLE["y"] = 2
NAMES = []
NAMES.append("x")
if SCALE > 1:
    def limit(c):
        return c.clip(0, 1)
else:
    def limit(c):
        return c
try:
    import fast as quick
except ImportError:
    import slow as quick


def helper(c, times=SCALE):
    """Help."""
    return pl.col(c) * times


def marked(function):
    return function


def set_state():
    global STATE
    STATE = 3


set_state()


@feature
def a(rows):
    return rows.select(ROW, a=helper("x"))


@feature
def b(rows):
    return rows.select(ROW, b=limit(pl.col("x")), n=len(NAMES), t=TABLE["x"])


@feature
@marked
def c(rows):
    return rows.select(ROW, c=clean("x") + words.many("x") + STATE)


@feature
def d(rows):
    import late
    from tools import second
    return rows.select(ROW, d=late.value() + second("x"))


@feature
def e(rows):
    return rows.select(ROW, e=cut.half("x") + glue.on("x") + listed("x") + quick.run("x"))


def make(column):
    @feature
    def inner(rows):
        return rows.select(ROW, made=pl.col(column))
    return inner


g = make("x")
h = make("z")


@feature
def i(rows):
    return counts(rows, "x")


@feature
def j(rows):
    return wb.features.group_stats(rows, "x", columns="z")


@feature
def k(rows):
    return f.svd_embeddings(rows, "x", items="z")
''',
    "tools.py": "from deep import BASE\nimport polars as pl\n\n\ndef clean(c):\n    return pl.col(c) + BASE\n\n\n"
    "def second(c):\n    return pl.col(c)\n\n\ndef unused(c):\n    return 1\n",
    "deep.py": "BASE = 1\nOTHER = 1\n",
    "words.py": "def many(c):\n    return few(c)\n\n\ndef few(c):\n    return 2\n\n\ndef none(c):\n    return 0\n",
    "late.py": "def value():\n    return 1\n",
    "fast.py": "def run(c):\n    return 1\n",
    "slow.py": "def run(c):\n    return 1\n",
    "lists.py": "__all__ = ['listed']\n\n\ndef listed(c):\n    return 1\n\n\ndef others(c):\n    return 2\n",
    "pieces/__init__.py": "START = 1\n",
    "pieces/cut.py": "from .shared import SIZE\n\n\ndef half(c):\n    return SIZE\n",
    "pieces/glue.py": "from . import shared\n\n\ndef on(c):\n    return shared.WIDTH\n",
    "pieces/shared.py": "SIZE = 1\nWIDTH = 1\n",
}
NAMES = "abcdeghijk"


def written(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder / "features.py"


def keys(path: Path) -> dict[str, str]:
    return {name: code_key(path, name) for name in NAMES}


@pytest.mark.parametrize(
    ("file", "old", "new", "changed"),
    [
        ("features.py", '"""Help."""', '"""Helps."""  # a remark', ""),
        ("features.py", "SCALE = 2", "\n\nSCALE    = 2 # two", ""),
        ("features.py", "import clean, unused", "import clean", ""),
        ("features.py", "SCALE = 2", "SCALE = 3", "ab"),
        ("features.py", "times=SCALE", "times=7", "a"),
        ("features.py", 'TABLE["y"] = 2', 'TABLE["y"] = 3', "b"),
        ("features.py", 'NAMES.append("x")', 'NAMES.append("y")', "b"),
        ("features.py", "        return c\n", "        return c + 1\n", "b"),
        ("features.py", "c.clip(0, 1)", "c.clip(0, 2)", "b"),
        ("features.py", "    return function", "    return print(function)", "c"),
        ("features.py", "STATE = 3", "STATE = 4", "c"),
        ("features.py", "set_state()\n\n\n@feature", "@feature", "c"),
        ("features.py", "import slow as quick", "import slower as quick", "e"),
        ("features.py", "pl.col(column)", "pl.col(column) + 1", "gh"),
        ("features.py", 'h = make("z")', 'h = make("y")', "h"),
        ("features.py", "from tools import second\n", "from words import few as second\n", "d"),
        ("tools.py", "+ BASE", "- BASE", "c"),
        ("tools.py", "return pl.col(c)\n", "return pl.col(c) + 1\n", "d"),
        ("tools.py", "return 1\n", "return 2\n", ""),
        ("deep.py", "BASE = 1", "BASE = 2", "c"),
        ("deep.py", "OTHER = 1", "OTHER = 2", ""),
        ("words.py", "return 2", "return 3", "c"),
        ("words.py", "return 0", "return 1", ""),
        ("late.py", "return 1", "return 2", "d"),
        ("fast.py", "return 1", "return 2", "e"),
        ("slow.py", "return 1", "return 2", "e"),
        ("lists.py", "return 1", "return 3", "e"),
        ("lists.py", "return 2", "return 3", ""),
        ("pieces/shared.py", "SIZE = 1", "SIZE = 2", "e"),
        ("pieces/shared.py", "WIDTH = 1", "WIDTH = 2", "e"),
        ("pieces/__init__.py", "START = 1", "START = 2", ""),
    ],
)
def test_exactly_what_depends_on_a_change_has_another_key(
    tmp_path: Path, file: str, old: str, new: str, changed: str
) -> None:
    path = written(tmp_path, FILES)
    before = keys(path)
    assert old in FILES[file]
    (tmp_path / file).write_text(FILES[file].replace(old, new))
    after = keys(path)
    assert "".join(n for n in NAMES if before[n] != after[n]) == changed


def test_a_key_is_the_same_in_every_process(tmp_path: Path) -> None:
    path = written(tmp_path, FILES)
    code = "import sys; from pathlib import Path; from workbench.features import code_key\n"
    code += f"print([code_key(Path({str(path)!r}), n) for n in {NAMES!r}])"
    said = [
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    ]
    assert said[0] == said[1]
    assert said[0].decode().strip() == str(list(keys(path).values()))


@pytest.mark.parametrize(
    "code",
    [
        "import tools\n\n\ndef a(rows):\n    return apply(tools)\n",
        "import tools\n\nT = tools\n\n\ndef a(rows):\n    return T.second('x')\n",
        "import tools\n\n\ndef a(rows):\n    return getattr(tools, 'sec' + 'ond')('x')\n",
    ],
)
def test_a_module_that_is_passed_around_counts_whole(tmp_path: Path, code: str) -> None:
    path = written(tmp_path, {**FILES, "features.py": code})
    before = code_key(path, "a")
    written(tmp_path, {"tools.py": FILES["tools.py"].replace("return pl.col(c)\n", "return pl.col(c) + 1\n")})
    middle = code_key(path, "a")
    written(tmp_path, {"deep.py": FILES["deep.py"].replace("BASE = 1", "BASE = 2")})
    assert len({before, middle, code_key(path, "a")}) == 3


BY_CALL = {
    "call": ("COLS = {'s': 1}\n\n\ndef configure():\n    COLS['s'] = 2\n\n\nconfigure()\n", "= 2", "= 5"),
    "two calls": (
        "COLS = {'s': 1}\n\n\ndef put(n):\n    COLS.update(s=n)\n\n\ndef configure():\n    put(2)\n\n\nconfigure()\n",
        "put(2)",
        "put(5)",
    ),
    "decorator": (
        "COLS = {}\n\n\ndef entered(f):\n    COLS[f.__name__] = f\n    return f\n\n\n"
        "@entered\ndef one():\n    return 2\n",
        "return 2",
        "return 5",
    ),
    "subclass": (
        "COLS = []\n\n\nclass Base:\n    def __init_subclass__(cls):\n        COLS.append(cls)\n\n\n"
        "class One(Base):\n    n = 2\n",
        "n = 2",
        "n = 5",
    ),
    "result kept": ("COLS = {'s': 1}\n_ = COLS.update(a=2)\n", "a=2", "a=5"),
    "other name": ("COLS = {'s': 1}\nT2 = COLS\nT3 = T2\nT3['a'] = 2\n", "= 2", "= 5"),
    "globals": ("COLS = 1\nglobals()['COLS'] = 2\n", "= 2", "= 5"),
    "in globals": ("OTHER = 2\nCOLS = globals()['OTHER']\n", "= 2", "= 5"),
    "beside": (
        "from listed import COLS, entered\n\n\n@entered\ndef one():\n    return 2\n",
        "return 2",
        "return 5",
    ),
    "beside as module": (
        "import listed\n\nCOLS = listed.COLS\n\n\n@listed.entered\ndef one():\n    return 2\n",
        "return 2",
        "return 5",
    ),
}
LISTED = "COLS = []\n\n\ndef entered(f):\n    COLS.append(f)\n    return f\n"


@pytest.mark.parametrize("how", BY_CALL)
def test_what_changes_a_name_through_a_call_counts(tmp_path: Path, how: str) -> None:
    """And what does not use the name has the same key as before, unless any name may have been changed."""
    code, old, new = BY_CALL[how]
    code += "\n\ndef a(rows):\n    return COLS\n\n\ndef b(rows):\n    return 1\n"
    path = written(tmp_path, {"features.py": code, "listed.py": LISTED})
    before = code_key(path, "a"), code_key(path, "b")
    path.write_text(code.replace(old, new))
    assert code.count(old) == 1
    assert code_key(path, "a") != before[0]
    assert (code_key(path, "b") == before[1]) == (how != "globals")


def test_what_only_reads_a_name_does_not_count(tmp_path: Path) -> None:
    code = (
        "COLS = {'s': 1}\n\n\ndef read(n):\n    return COLS.get(n)\n\n\nOTHER = read(2)\n\n\n"
        "def a(rows):\n    return COLS\n"
    )
    path = written(tmp_path, {"features.py": code})
    before = code_key(path, "a")
    path.write_text(code.replace("read(2)", "read(5)"))
    assert code_key(path, "a") == before


@pytest.mark.parametrize("name", ["'tools'", "'to' + 'ols'"])
def test_a_module_imported_by_the_text_of_its_name_counts_whole(tmp_path: Path, name: str) -> None:
    code = f"import importlib\n\n\ndef a(rows):\n    return importlib.import_module({name}).second\n"
    path = written(tmp_path, {"features.py": code, "tools.py": "def second(c):\n    return 1\n"})
    before = code_key(path, "a")
    path.with_name("tools.py").write_text("def second(c):\n    return 2\n")
    assert code_key(path, "a") != before


def test_a_name_that_the_file_makes_while_it_runs_counts_whole(tmp_path: Path) -> None:
    code = "for n in 'xy':\n    globals()[n] = make(n)\n\n\ndef make(n):\n    return 1\n"
    path = written(tmp_path, {"features.py": code})
    assert code_key(path, "x") != code_key(path, "y")
    before = code_key(path, "x")
    written(tmp_path, {"features.py": code.replace("return 1", "return 2")})
    assert code_key(path, "x") != before


# ------------------------------------------------------------------------------------------------------------ recipes

FORMS = {
    "from": "from workbench.features import counts\n\n\ndef a(rows):\n    return counts(rows, 'x')\n",
    "as": "from workbench.features import counts as c\n\n\ndef a(rows):\n    return c(rows, 'x')\n",
    "module": "from workbench import features as f\n\n\ndef a(rows):\n    return f.counts(rows, 'x')\n",
    "package": "import workbench as wb\n\n\ndef a(rows):\n    return wb.features.counts(rows, 'x')\n",
    "dotted": "import workbench.features\n\n\ndef a(rows):\n    return workbench.features.counts(rows, 'x')\n",
    "deep": "from workbench.features.recipes.groups import counts\n\n\ndef a(rows):\n    return counts(rows, 'x')\n",
    "deep_module": "from workbench.features.recipes import groups\n\n\ndef a(rows):\n    return groups.counts(rows, 'x')\n",
    "star": "from workbench.features import *\n\n\ndef a(rows):\n    return counts(rows, 'x')\n",
    "inside": "def a(rows):\n    from workbench.features import counts\n    return counts(rows, 'x')\n",
    "alias": "import workbench as wb\n\nc = wb.features.counts\n\n\ndef a(rows):\n    return c(rows, 'x')\n",
    "helper": "from own import mine\n\n\ndef a(rows):\n    return mine(rows)\n",
    "bare": "import workbench as wb\n\nF = wb.features\n\n\ndef a(rows):\n    return F.counts(rows, 'x')\n",
}
OWN = "from workbench.features import counts\n\n\ndef mine(rows):\n    return counts(rows, 'x')\n"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("recipe", "counts_it"), [("counts", True), ("group_stats", False), ("lags", False)])
def test_the_version_of_a_recipe_counts_where_it_is_used(
    tmp_path: Path, monkeypatch, form: str, recipe: str, counts_it: bool
) -> None:
    path = written(tmp_path, {"features.py": FORMS[form], "own.py": OWN})
    before = code_key(path, "a")
    monkeypatch.setitem(recipes.VERSIONS, recipe, 2)
    assert (code_key(path, "a") != before) == (counts_it or form == "bare")


def test_the_code_of_a_recipe_may_be_moved(tmp_path: Path) -> None:
    path = written(tmp_path, {"features.py": FORMS["from"]})
    walk = code_keys.CodeWalk()
    walk.follow(Module("features", path, path.parent), "a", [()])
    assert set(walk.code) == {
        "features:a",
        "features:counts",
        "features:counts = import workbench.features counts",
        "recipe:counts",
    }


def test_what_is_inside_recipes_counts_as_all_of_them(tmp_path: Path, monkeypatch) -> None:
    code = "from workbench.features.recipes.columns import attached\n\n\ndef a(rows):\n    return attached\n"
    path = written(tmp_path, {"features.py": code})
    before = code_key(path, "a")
    monkeypatch.setitem(recipes.VERSIONS, "lags", 2)
    assert code_key(path, "a") != before


def test_what_is_no_recipe_does_not_count(tmp_path: Path) -> None:
    code = "from workbench.features import ROW, feature\n\n\n@feature\ndef a(rows):\n    return rows.select(ROW, 'x')\n"
    path = written(tmp_path, {"features.py": code})
    walk = code_keys.CodeWalk()
    walk.follow(Module("features", path, path.parent), "a", [()])
    assert set(walk.code) == {
        "features:a",
        "features:ROW",
        "features:feature",
        "features:ROW = import workbench.features ROW",
        "features:feature = import workbench.features feature",
    }


@pytest.mark.parametrize(
    ("code", "depends"),
    [
        ("from workbench.features import svd_embeddings\n\n\ndef a(rows):\n    return svd_embeddings(rows)\n", True),
        ("import workbench as wb\n\n\ndef a(rows):\n    return wb.features.text_embeddings(rows)\n", True),
        ("from sklearn.cluster import KMeans\n\n\ndef a(rows):\n    return KMeans()\n", True),
        ("def a(rows):\n    import sklearn.cluster as c\n    return c.KMeans()\n", True),
        ("from workbench.features import counts\n\n\ndef a(rows):\n    return counts(rows, 'x')\n", False),
        (
            "from workbench.features import hashed_ngrams\n\n\ndef a(rows):\n    return hashed_ngrams(rows, 'x')\n",
            False,
        ),
        ("import sklearn\nimport polars as pl\nimport re\n\n\ndef a(rows):\n    return [pl.col('x'), re]\n", False),
    ],
)
def test_the_version_of_scikit_learn_counts_where_it_is_used(
    tmp_path: Path, monkeypatch, code: str, depends: bool
) -> None:
    path = written(tmp_path, {"features.py": code})
    before = code_key(path, "a")
    monkeypatch.setattr(code_keys, "package_version", lambda module: f"another {module}")
    assert (code_key(path, "a") != before) == depends


# ------------------------------------------------------------------------------------------------------------- blocks

HEAD = "from pathlib import Path\nimport polars as pl\nfrom workbench.features import ROW, counts, feature\n\n"


def opened(made: Any, code: str, memory_limit: int | None = None) -> Blocks:
    (made.folder / "features.py").write_text(HEAD + code)
    competition = made.open.access.competition
    return Blocks(competition, load_features(competition), memory_limit=memory_limit)


class TestBlocks:
    READS = (
        "@feature(files=['towns.csv'])\ndef f(rows):\n"
        "    known = pl.read_csv(Path(__file__).parent / 'towns.csv')['town']\n"
        "    return [pl.col('town').is_in(known.implode()).alias('known')]\n"
    )

    def test_files_that_a_feature_names_count(self, small) -> None:
        made = small()
        (made.folder / "towns.csv").write_text("town\ntown 1\n")
        blocks = opened(made, self.READS)
        before, first = blocks.key("f"), pl.read_parquet(blocks.block("f").path)["known"].sum()
        assert opened(made, self.READS).key("f") == before
        (made.folder / "towns.csv").write_text("town\ntown 1\ntown 2\n")
        blocks = opened(made, self.READS)
        assert blocks.key("f") != before
        assert pl.read_parquet(blocks.block("f").path)["known"].sum() > first

    def test_a_file_that_is_not_there_is_explained(self, small) -> None:
        with pytest.raises(FeatureError, match=r"'f' \(features.py, line 5\) lists the file 'towns.csv', which is not"):
            opened(small(), self.READS).key("f")
        with pytest.raises(FeatureError, match="expected a list of paths"):
            from workbench.features import feature

            feature(files="towns.csv")

    def test_features_of_one_function_have_blocks_of_their_own(self, small) -> None:
        code = (
            "def make(c):\n    @feature\n    def inner(rows):\n        return [(pl.col(c) * 2).alias('twice')]\n"
            "    return inner\n\n\nf = make('x')\ng = make('z')\n"
            "for c in ('x', 'z'):\n    globals()[f'of_{c}'] = make(c)\n"
        )
        blocks = opened(small(), code)
        frames = {n: pl.read_parquet(blocks.block(n).path) for n in ("f", "g", "of_x", "of_z")}
        assert frames["f"].equals(frames["of_x"])
        assert frames["g"].equals(frames["of_z"])
        assert not frames["f"].equals(frames["g"])

    def test_what_runs_is_what_is_written_in_the_files_beside(self, small) -> None:
        made = small()
        code = "from factors import FACTOR\n\n\n@feature\ndef f(rows):\n    return [pl.lit(FACTOR).alias('factor')]\n"
        for factor in (1, 2, 3):
            (made.folder / "factors.py").write_text(f"FACTOR = {factor}\n")
            assert pl.read_parquet(opened(made, code).block("f").path)["factor"][0] == factor

    def test_recipes_are_built_like_any_feature_in_parts_too(self, small) -> None:
        code = (
            "import workbench as wb\n\n\n@feature(partition_by='household')\ndef f(rows):\n"
            "    return wb.features.together(\n        rows,\n        wb.features.group_stats(rows, 'household', columns='x'),\n"
            "        wb.features.lags(rows, ['household', 'town'], columns='z', order_by='day'),\n"
            "        wb.features.date_parts(rows, 'day'),\n    )\n"
        )
        made = small()
        whole = opened(made, code).lines("f").collect()
        cut = opened(made, code, 100_000)
        cut.store.clear()
        block = cut.block("f")
        assert block.note["parts"] > 1
        assert whole[ROW].to_list() == list(range(500))
        assert_frame_equal(cut.lines("f").collect(), whole, rel_tol=1e-9)


STRUCTURES = {
    "package": {"lib/__init__.py": "", "lib/helpers.py": "A = 1\n", "features.py": "from lib.helpers import A\n"},
    "package whole": {"lib/__init__.py": "from .helpers import A\n", "lib/helpers.py": "A = 1\n", "features.py": "import lib\nA = lib.A\n"},
    "namespace": {"lib/text/clean.py": "A = 1\n", "features.py": "import lib.text.clean\nA = lib.text.clean.A\n"},
    "namespace, a name": {"lib/text/clean.py": "A = 1\n", "features.py": "from lib.text import clean\nA = clean.A\n"},
    "relative": {"lib/a.py": "from ..other.b import A\n", "lib/__init__.py": "", "features.py": "from lib.a import A\n"}
    | {"lib/c.py": "from . import d\nfrom .e.f import A\n", "lib/d.py": "X = 1\n", "lib/e/f.py": "from ..d import X\nA = X\n"}
    | {"features.py": "from lib.c import A\n"},
    "in a function": {"late.py": "A = 1\n", "features.py": "def A(rows):\n    from late import A\n    return A\n"},
    "by its text": {"lib/late.py": "X = 1\n", "features.py": "import importlib\nA = importlib.import_module('lib.late').X\n"},
    "by a text that is made": {"lib/late.py": "X = 1\n", "features.py": "import importlib\nA = importlib.import_module('lib.' + 'late').X\n"},
    "a file before a folder": {"lib.py": "A = 1\n", "lib/other.py": "A = 2\n", "features.py": "from lib import A\n"},
    "with a star": {"lib/names.py": "from .more import *\n", "lib/more.py": "A = 1\n", "features.py": "from lib.names import *\n"},
}  # fmt: skip


@pytest.mark.parametrize("how", STRUCTURES)
def test_what_the_key_follows_is_what_is_kept(tmp_path: Path, how: str) -> None:
    """What the walk of the key reads is among the files that are kept, and these alone are enough to load the code."""
    here, there = tmp_path / "here", tmp_path / "there"
    for name, text in STRUCTURES[how].items():
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text(text)
    path = here / "features.py"
    walk = code_keys.CodeWalk()
    assert walk.follow(Module("features", path, here), "A", [()])
    followed = {p for p in walk.parsed_files if p.is_file()}
    kept = code_files([path]).files
    assert len(followed) > 1
    assert followed <= {*kept}
    for file in kept:
        (there / file.relative_to(here)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, there / file.relative_to(here))
    code = "import features; print(features.A)" if how != "in a function" else "import features; print(features.A(0))"
    said = [subprocess.run([sys.executable, "-c", code], cwd=p, capture_output=True, check=True) for p in (here, there)]
    assert said[0].stdout == said[1].stdout
    # And a change of any file that was followed is another key.
    for file in followed - {path}:
        before, text = code_key(path, "A"), file.read_text()
        file.write_text(text.replace("= 1", "= 2"))
        assert "= 1" not in text or code_key(path, "A") != before
        file.write_text(text)


def test_code_is_kept_that_a_key_does_not_need(tmp_path: Path) -> None:
    """A package's __init__.py runs before what is in it; what another feature imports is loaded with the file."""
    path = written(tmp_path, {**FILES, "unrelated.py": "X = 1\n", "pieces/unrelated.py": "X = 1\n"})
    files = code_files([path])
    expected = {name for name in FILES if name not in ("late.py",)} | {"late.py"}
    assert {p.relative_to(tmp_path).as_posix() for p in files.files} >= expected
    assert "polars" in files.packages
    assert "workbench" in files.packages


def test_cells_of_a_notebook(tmp_path: Path) -> None:
    written(tmp_path, {"pieces/__init__.py": "", "pieces/cut.py": "A = 1\n", "features.py": ""})
    cell = "%matplotlib inline\nif True:\n    pass\nfrom pieces.cut import A\nprint(A)\n".replace("%m", "pass  # ")
    before = code_key_of(cell, tmp_path)
    assert before
    assert [p.name for p in code_files_of(cell, tmp_path).files] == ["__init__.py", "cut.py"]
    written(tmp_path, {"pieces/cut.py": "A = 2\n"})
    assert code_key_of(cell, tmp_path) != before
    assert code_key_of("import polars as pl\nx = 1\n", tmp_path) == ""
    assert code_key_of("no python at all", tmp_path) == ""


def test_a_folder_of_code_is_that_of_the_competition_that_is_loaded(tmp_path: Path) -> None:
    """A folder without an __init__.py, too, at any depth; a module stays in memory when the next one is loaded."""
    for number, init in ((1, False), (2, False), (3, True), (4, False)):
        folder = tmp_path / str(number)
        written(folder, {"competition.toml": "", "lib/text/deep.py": f"A = {number}\n"})
        if init:
            written(folder, {"lib/__init__.py": f"B = {number}\n"})
        path = written(folder, {"features.py": "import lib.text.deep\nA = lib.text.deep.A\n"})
        assert number == load_code(path).A


def test_a_file_that_was_just_written_is_found_whatever_the_time_of_its_folder(tmp_path: Path) -> None:
    """Times may be those of seconds: what an import has looked up before is looked up again."""
    (tmp_path / "features.py").write_text("import just_written\n")
    before = tmp_path.stat()
    with pytest.raises(ConfigError, match="just_written"):
        load_code(tmp_path / "features.py")
    (tmp_path / "just_written.py").write_text("")
    os.utime(tmp_path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert load_code(tmp_path / "features.py").just_written
