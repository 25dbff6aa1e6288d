"""The parameters that are searched: their ranges, the points that are tried first, what LightGBM takes."""

from __future__ import annotations

import math
from typing import Any

import lightgbm
import numpy as np
import pytest

from workbench.core.errors import ConfigError
from workbench.tuning import default_space, parse_space
from workbench.tuning.space import Dimension, Space, initial_point, proven_points

LIMITS: dict[str, tuple[float, float]] = {
    "learning_rate": (1e-6, 10.0),
    "num_leaves": (2, 131_072),
    "min_data_in_leaf": (0, 2_147_483_647),
    "feature_fraction": (1e-6, 1.0),
    "feature_fraction_bynode": (1e-6, 1.0),
    "bagging_fraction": (1e-6, 1.0),
    "pos_bagging_fraction": (1e-6, 1.0),
    "neg_bagging_fraction": (1e-6, 1.0),
    "lambda_l1": (0.0, math.inf),
    "lambda_l2": (0.0, math.inf),
    "min_gain_to_split": (0.0, math.inf),
    "min_sum_hessian_in_leaf": (0.0, math.inf),
    "path_smooth": (0.0, math.inf),
    "cat_smooth": (0.0, math.inf),
    "cat_l2": (0.0, math.inf),
    "max_bin": (2, 65_535),
    "drop_rate": (0.0, 1.0),
    "top_rate": (0.0, 1.0),
    "other_rate": (0.0, 1.0),
    "max_delta_step": (-math.inf, math.inf),
}
"""From the pages of LightGBM's parameters; the last one has none."""


def parsed(name: str, value: Any) -> Dimension:
    """Return the only dimension of a space."""
    (dimension,) = parse_space({name: value}, where="exp.toml").dimensions
    return dimension


def refusal(name: str, value: Any) -> ConfigError:
    """Return why a parameter's range is refused."""
    with pytest.raises(ConfigError) as caught:
        parse_space({name: value}, where="exp.toml")
    return caught.value


@pytest.mark.parametrize("name", LIMITS)
def test_a_value_is_taken_up_to_lightgbms_limits(name: str) -> None:
    low, high = LIMITS[name]
    inside = [b for b in (low, high) if math.isfinite(b)] or [-1e9, 1e9]
    assert parsed(name, inside).choices == tuple(inside)
    for bound, beyond in ((low, -1), (high, 1)):
        if math.isfinite(bound):
            outside = bound + beyond * (1 if isinstance(bound, int) else 1e-7)
            allowed = f"from {low:g} to {high:g}" if math.isfinite(high) else f"of at least {low:g}"
            assert f"LightGBM takes {name} {allowed}, got {outside:g}" in refusal(name, [outside]).message
            # And of a range as of a choice.
            ends = sorted([outside, bound])
            assert "LightGBM takes" in refusal(name, {"low": ends[0], "high": ends[1]}).message


@pytest.mark.parametrize(
    "name", ["learning_rate", "num_leaves", "feature_fraction", "lambda_l1", "path_smooth", "cat_l2"]
)
def test_lightgbm_takes_what_lies_at_the_limits(name: str) -> None:
    data = lightgbm.Dataset(np.arange(40.0).reshape(20, 2), np.arange(20.0) % 2, params={"verbosity": -1})
    for bound in filter(math.isfinite, LIMITS[name]):
        lightgbm.Booster({name: bound, "objective": "binary", "verbosity": -1}, data)


class TestDimension:
    def test_its_range_in_optunas_terms(self) -> None:
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        assert parsed("num_leaves", {"low": 4, "high": 16, "log": True}).distribution() == IntDistribution(
            4, 16, log=True
        )
        assert parsed("num_leaves", {"low": 4, "high": 16}).distribution() == IntDistribution(4, 16, step=1)
        assert parsed("num_leaves", {"low": 4, "high": 16, "step": 3}).distribution() == IntDistribution(4, 16, step=3)
        assert parsed("lambda_l2", {"low": 0.1, "high": 2.0}).distribution() == FloatDistribution(0.1, 2.0)
        assert parsed("lambda_l2", {"low": 0.1, "high": 2.0, "log": True}).distribution() == FloatDistribution(
            0.1, 2.0, log=True
        )
        assert parsed("lambda_l2", {"low": 0, "high": 2, "step": 0.5}).distribution() == FloatDistribution(
            0, 2, step=0.5
        )
        assert parsed("extra_trees", [True, False]).distribution() == CategoricalDistribution((True, False))

    @pytest.mark.parametrize(
        ("given", "value", "expected"),
        [
            ({"low": 4, "high": 16}, 4, True),
            ({"low": 4, "high": 16}, 16, True),
            ({"low": 4, "high": 16}, 3, False),
            ({"low": 4, "high": 16}, 17, False),
            ({"low": 4, "high": 16}, "8", False),
            ({"low": 4, "high": 16}, None, False),
            ([4, 16], 16, True),
            ([4, 16], 8, False),
        ],
    )
    def test_what_it_holds(self, given: Any, value: Any, expected: bool) -> None:
        assert parsed("num_leaves", given).contains(value) == expected

    def test_true_is_no_number(self) -> None:
        assert not parsed("lambda_l2", {"low": 0.0, "high": 2.0}).contains(True)

    @pytest.mark.parametrize(
        ("name", "given", "content"),
        [
            ("num_leaves", {"low": 4.0, "high": 16.0, "log": True}, {"low": 4, "high": 16, "log": True}),
            ("num_leaves", {"low": 4, "high": 16, "step": 2}, {"low": 4, "high": 16, "step": 2}),
            ("lambda_l2", {"low": 0.5, "high": 2, "log": False}, {"low": 0.5, "high": 2}),
            ("lambda_l2", {"choices": [1, 2.5]}, {"choices": [1, 2.5]}),
            # Whole numbers stay such where there is a limit, as earlier versions kept them.
            ("lambda_l2", {"low": 0, "high": 2}, {"low": 0, "high": 2}),
        ],
    )
    def test_its_content_decides_the_study(self, name: str, given: Any, content: dict[str, Any]) -> None:
        kept = parsed(name, given).content()
        assert kept == content
        assert list(map(type, kept.values())) == list(map(type, content.values()))

    def test_whole_ends_of_a_range_without_limits_are_of_floats(self) -> None:
        assert list(map(type, parsed("max_delta_step", {"low": 0, "high": 2}).content().values())) == [float, float]
        assert list(map(type, parsed("max_delta_step", {"low": 0, "high": 2.5}).content().values())) == [int, float]
        assert list(map(type, parsed("max_delta_step", {"low": 0.5, "high": 2}).content().values())) == [float, int]
        assert list(map(type, parsed("max_depth", {"low": 3, "high": 9}).content().values())) == [int, int]

    def test_without_more_it_is_a_plain_range_of_floats(self) -> None:
        assert Dimension("x") == Dimension("x", 0.0, 0.0, log=False, step=None, is_integer=False, choices=None)


class TestPoints:
    space = parse_space(
        {
            "num_leaves": {"low": 4, "high": 64, "log": True},
            "lambda_l2": {"low": 0.1, "high": 10.0, "log": True},
            "cat_smooth": {"low": 1.0, "high": 9.0, "log": True},
            "extra_trees": [True, False],
            "max_bin": [63, 255],
            "boosting": ["gbdt", "dart"],
        },
        where="",
    )

    def test_its_largest_values_are_of_what_memory_depends_on(self) -> None:
        assert self.space.largest == {"num_leaves": 64, "max_bin": 255}
        assert parse_space({"linear_tree": [True, False], "lambda_l2": [1]}, where="").largest == {"linear_tree": True}

    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            # The end of a penalty's logarithmic scale stands for none; of anything else it is itself.
            ({"lambda_l2": 0.1, "cat_smooth": 1.0, "num_leaves": 4}, {"lambda_l2": 0.0, "cat_smooth": 1.0, "num_leaves": 4}),
            ({"lambda_l2": 0.2}, {"lambda_l2": 0.2}),
        ],
    )  # fmt: skip
    def test_the_least_of_a_penalty_is_none(self, given: dict[str, Any], expected: dict[str, Any]) -> None:
        assert self.space.parameters(given) == expected
        linear = parse_space({"lambda_l2": {"low": 0.1, "high": 10.0}}, where="")
        assert linear.parameters({"lambda_l2": 0.1}) == {"lambda_l2": 0.1}

    def test_a_point_is_of_the_types_that_are_searched(self) -> None:
        point = self.space.point_of({"lambda_l2": 1, "cat_smooth": 2, "extra_trees": 1, "max_bin": 63.0})
        assert point == {"num_leaves": 31, "lambda_l2": 1.0, "cat_smooth": 2.0, "extra_trees": True, "max_bin": 63,
                         "boosting": "gbdt"}  # fmt: skip
        assert point is not None
        assert [type(v) for v in point.values()] == [int, float, float, bool, int, str]

    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            ({"lambda_l2": 0}, 0.1),
            ({"lambda_l2": 0.05}, None),
            ({"lambda_l2": 10.5}, None),
            ({"lambda_l2": 1, "cat_smooth": 0}, None),
            ({"lambda_l2": 1, "num_leaves": 3}, None),
            ({"lambda_l2": 1, "boosting": "rf"}, None),
        ],
    )
    def test_no_penalty_is_its_least_and_what_is_outside_is_no_point(
        self, given: dict[str, Any], expected: float | None
    ) -> None:
        point = self.space.point_of({"cat_smooth": 2.0, **given})
        assert (None if point is None else point["lambda_l2"]) == expected

    def test_a_range_from_0_holds_0_itself(self) -> None:
        assert parse_space({"lambda_l2": {"low": 0.0, "high": 1.0}}, where="").point_of({}) == {"lambda_l2": 0.0}

    def test_ranges_are_widened_to_what_is_given(self) -> None:
        wide = self.space.widened({"num_leaves": 100, "lambda_l2": 0.05, "cat_smooth": 5.0, "max_bin": 31})
        ranges = {d.name: (d.low, d.high) for d in wide.dimensions if d.choices is None}
        assert ranges == {"num_leaves": (4, 100), "lambda_l2": (0.05, 10.0), "cat_smooth": (1.0, 9.0)}
        assert [d.choices for d in wide.dimensions if d.choices] == [(True, False), (63, 255), ("gbdt", "dart")]
        # LightGBM's own where nothing is given: of cat_smooth it is 10, of lambda_l2 it is 0, which no log scale has.
        ranges = {d.name: (d.low, d.high) for d in self.space.widened({}).dimensions if d.choices is None}
        assert ranges == {"num_leaves": (4, 64), "lambda_l2": (0.1, 10.0), "cat_smooth": (1.0, 10.0)}

    @pytest.mark.parametrize("value", ["many", True, None, -1.0])
    def test_what_is_no_number_of_the_scale_widens_nothing(self, value: Any) -> None:
        space = Space((Dimension("lambda_l2", 2.0, 10.0, log=True),))
        assert space.widened({"lambda_l2": value}) == space
        plain = Space((Dimension("lambda_l2", 2.0, 10.0),))
        assert plain.widened({"lambda_l2": 0}).dimensions[0].low == 0

    def test_a_space_without_some_of_its_names(self) -> None:
        assert self.space.without(["boosting", "max_bin", "cat_smooth", "other"]).names == [
            "num_leaves",
            "lambda_l2",
            "extra_trees",
        ]

    @pytest.mark.parametrize(
        ("searched", "own", "expected"),
        [
            (["bagging_fraction"], {"bagging_fraction": 0.6}, {"bagging_fraction": 1.0}),
            (["bagging_fraction"], {"bagging_fraction": 0.6, "bagging_freq": 0}, {"bagging_fraction": 1.0}),
            (["bagging_fraction"], {"bagging_fraction": 0.6, "bagging_freq": 2}, {"bagging_fraction": 0.6}),
            (
                ["bagging_fraction", "bagging_freq"],
                {"bagging_fraction": 0.6},
                {"bagging_fraction": 0.6, "bagging_freq": 0},
            ),
        ],
    )
    def test_a_fraction_has_an_effect_by_a_frequency(
        self, searched: list[str], own: dict[str, Any], expected: dict[str, Any]
    ) -> None:
        ranges = {"bagging_fraction": {"low": 0.5, "high": 1.0}, "bagging_freq": {"low": 0, "high": 5}}
        assert initial_point(parse_space({n: ranges[n] for n in searched}, where=""), own) == expected


class TestDefaultSpace:
    @pytest.mark.parametrize(
        ("n_rows", "leaves", "rows"),
        [
            (100, (4, 8), (2, 20)),
            (1_000, (4, 25), (2, 20)),
            (19_999, (4, 499), (2, 399)),
            (20_000, (4, 500), (5, 400)),
            (30_000, (4, 512), (5, 600)),
            (10**6, (4, 512), (5, 2_000)),
        ],
    )
    def test_small_tables_get_small_trees(self, n_rows: int, leaves: tuple[int, int], rows: tuple[int, int]) -> None:
        space = default_space("binary", n_rows, 10, has_categories=False)
        assert [(d.low, d.high) for d in space.dimensions[:2]] == [leaves, rows]
        content = space.content()
        assert content["num_leaves"] == {"low": leaves[0], "high": leaves[1], "log": True}
        assert content["min_data_in_leaf"] == {"low": rows[0], "high": rows[1], "log": True}

    @pytest.mark.parametrize(("n_columns", "least"), [(0, 0.5), (1, 0.5), (6, 0.5), (7, 0.43), (30, 0.1), (99, 0.1)])
    def test_trees_of_three_columns_are_among_them(self, n_columns: int, least: float) -> None:
        content = default_space("binary", 100, n_columns, has_categories=False).content()
        assert content["feature_fraction"] == {"low": least, "high": 1.0}

    def test_what_does_not_depend_on_the_table(self) -> None:
        plain = default_space("binary", 100, 10, has_categories=False).content()
        del plain["num_leaves"], plain["min_data_in_leaf"], plain["feature_fraction"]
        penalties = {
            "lambda_l1": {"low": 0.001, "high": 10.0, "log": True},
            "lambda_l2": {"low": 0.001, "high": 100.0, "log": True},
            "extra_trees": {"choices": [False, True]},
            "path_smooth": {"low": 0.01, "high": 100.0, "log": True},
        }
        assert plain == {"bagging_fraction": {"low": 0.4, "high": 1.0}, **penalties}

    def test_gain_is_searched_of_numbers_and_smoothing_of_categories(self) -> None:
        of = {
            (task, has): default_space(task, 100, 10, has_categories=has).content()
            for task in ("binary", "multiclass", "regression")
            for has in (False, True)
        }
        gain = {"min_gain_to_split": {"low": 1e-6, "high": 1.0, "log": True}}
        categories = {
            "cat_smooth": {"low": 1.0, "high": 200.0, "log": True},
            "cat_l2": {"low": 0.1, "high": 100.0, "log": True},
        }
        plain = of["binary", False]
        for (task, has), content in of.items():
            assert content == plain | (gain if task == "regression" else {}) | (categories if has else {})


def test_the_first_points_are_known_to_do_well() -> None:
    """Of few leaves, of a few columns to a tree, of many leaves held back by their rows, and between."""
    names = ("num_leaves", "min_data_in_leaf", "feature_fraction", "bagging_fraction", "lambda_l2", "extra_trees")
    points = proven_points(default_space("binary", 100_000, 100, has_categories=False))
    assert [tuple(p[n] for n in names) for p in points] == [
        (31, 20, 0.7, 0.8, 1.0, False),
        (8, 20, 0.5, 0.8, 10.0, False),
        (15, 10, 0.25, 1.0, 0.2, False),
        (127, 100, 0.5, 0.9, 10.0, False),
        (63, 50, 0.4, 0.7, 0.001, True),
    ]
    assert all((p["lambda_l1"], p["path_smooth"]) == (0.001, 0.01) for p in points)


def test_the_first_points_are_moved_into_the_space() -> None:
    space = parse_space(
        {
            "num_leaves": {"low": 10, "high": 20},
            "lambda_l2": {"low": 1, "high": 5},
            "max_delta_step": {"low": 0.0, "high": 1.0},
            "min_data_in_leaf": [20, 10],
        },
        where="",
    )
    points = proven_points(space)
    # Those of min_data_in_leaf = 100 and 50 are no points of it.
    assert [(p["num_leaves"], p["lambda_l2"], p["max_delta_step"], p["min_data_in_leaf"]) for p in points] == [
        (20, 1.0, 0.0, 20),
        (10, 5.0, 0.0, 20),
        (15, 1.0, 0.0, 10),
    ]
    assert {(type(p["num_leaves"]), type(p["lambda_l2"])) for p in points} == {(int, float)}


class TestParse:
    @pytest.mark.parametrize(
        ("name", "value", "message", "hint"),
        [
            ("num_leaves", {"choices": 5}, "choices = 5: expected a list of at least one value", None),
            ("num_leaves", [[4]], "expected numbers, texts, true or false", None),
            ("num_leaves", [{"low": 4}], "expected numbers, texts, true or false", None),
            ("num_leaves", [4, 8, 4], "has a value twice", "once is enough"),
            ("num_leaves", {}, "lacks low and high", "low = 15"),
            ("num_leaves", {"high": 5}, "lacks low", "low = 15"),
            ("num_leaves", {"low": 4, "high": 9, "log": 1}, "log = 1: expected true or false", None),
            ("num_leaves", {"low": 4, "high": 8.5}, "is a whole number, got a range from 4 to 8.5", None),
            ("num_leaves", {"low": 4, "high": 9, "step": 0.5}, "is a whole number, got a range from 4 to 9", None),
            ("num_leaves", {"low": 4, "high": 9, "step": "2"}, "step = '2': expected a number", None),
            ("num_leaves", {"low": True, "high": 9}, "low = True: expected a number", None),
            ("lambda_l2", {"low": 0.0, "high": math.inf}, "high = inf: expected a number", None),
            ("lambda_l2", {"low": 1.0, "high": 1.0}, "low = 1 is not below high = 1", "[model]: lambda_l2 = 1"),
            ("lambda_l2", {"low": 0.0, "high": 1.0, "log": True}, "log = true needs low above 0, got 0", None),
            ("lambda_l2", {"low": 1.0, "high": 2.0, "step": 0}, "step = 0 must be above 0 and at most 1", None),
            ("lambda_l2", {"low": 1.0, "high": 2.0, "step": -1}, "must be above 0 and at most 1", None),
            ("lambda_l2", {"low": 1.0, "high": 2.0, "step": 1.5}, "must be above 0 and at most 1", None),
            ("lambda_l2", {"low": 1.0, "high": 2.0, "step": True}, "step = True: expected a number", None),
            ("extra_trees", {"low": 0, "high": 1}, "extra_trees is true or false, got a range", "give its values"),
            ("boosting", {"low": 0, "high": 1}, "boosting is not a number, got a range", "give its values"),
        ],
    )
    def test_what_contradicts_itself_is_explained(self, name: str, value: Any, message: str, hint: str | None) -> None:
        refused = refusal(name, value)
        assert refused.message.startswith(f"exp.toml: [tune.space] {name}")
        assert message in refused.message
        assert hint is None or hint in str(refused.hint)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("lambda_l2", {"low": 1e-9, "high": 2.0, "log": True}),
            ("lambda_l2", {"low": 1.0, "high": 2.0, "step": 1.0}),
            ("lambda_l2", {"low": 1.0, "high": 2.0, "step": 1e-9}),
            ("lambda_l2", [0.0]),
            # Not the same though they are equal: what they are is written differently.
            ("max_bin", [63, 63.0]),
            ("extra_trees", [True, 1]),
            ("num_leaves", {"low": 4, "high": 5, "step": 1}),
        ],
    )
    def test_what_is_at_the_edge_is_taken(self, name: str, value: Any) -> None:
        assert parsed(name, value).name == name

    def test_what_is_true_or_false_has_no_limits(self) -> None:
        """True is 1 and below the least number of leaves, but it is no number."""
        assert parsed("num_leaves", [True]).choices == (True,)
