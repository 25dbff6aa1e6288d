"""What a target goes through before training, at its limits; the runs with transforms are in `test_training.py`."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special, stats
from sklearn.preprocessing import QuantileTransformer

from workbench.models.transforms import LOWEST, TRANSFORMS, Transform, fitted_transform

SKEWED = np.random.default_rng(4).lognormal(1, 1, 800)
SIGNED = np.random.default_rng(5).normal(0.3, 2, 500)


def test_none_leaves_numbers_as_they_are_and_log1p_is_the_logarithm() -> None:
    values = np.array([-0.5, 0.0, 3.0])
    for name, expected in (("none", values), ("log1p", np.log([0.5, 1.0, 4.0]))):
        made = fitted_transform(name, values)
        assert made == Transform(name)
        assert made.parameters == {}
        assert made.forward(values) == pytest.approx(expected)
        assert made.inverse(made.forward(values)) == pytest.approx(values)
    assert fitted_transform("none", values).inverse(np.array([1e30, -1e30])).tolist() == [1e30, -1e30]


def test_the_power_is_the_likeliest() -> None:
    assert fitted_transform("boxcox", SKEWED).parameters["lambda"] == pytest.approx(stats.boxcox(SKEWED)[1])
    for values in (SKEWED, SIGNED):
        made = fitted_transform("yeojohnson", values)
        theirs, power = stats.yeojohnson(values)
        assert made.parameters["lambda"] == pytest.approx(power)
        assert made.forward(values) == pytest.approx(theirs)
        assert made.parameters["lowest"] == values.min()
        assert made.parameters["highest"] == values.max()


@pytest.mark.parametrize("power", [-0.5, 0.0, 0.7, 1.0, 2.0, 2.5])
def test_a_power_of_either_sign_is_undone(power: float) -> None:
    values = np.array([-3.0, -0.5, 0.0, 0.5, 4.0])
    ends = {"lowest": -3.0, "highest": 4.0, "lambda": power}
    made = Transform("yeojohnson", ends)
    assert made.forward(values) == pytest.approx(stats.yeojohnson(values, lmbda=power))
    assert made.inverse(made.forward(values)) == pytest.approx(values)
    positive = values[3:]
    made = Transform("boxcox", {**ends, "lowest": 0.5})
    assert made.forward(positive) == pytest.approx(stats.boxcox(positive, lmbda=power))
    assert made.inverse(made.forward(positive)) == pytest.approx(positive)


@pytest.mark.parametrize("name", ["boxcox", "yeojohnson", "quantile"])
def test_values_that_are_all_the_same_stay_so(name: str) -> None:
    made = fitted_transform(name, np.full(9, 2.5))
    assert made.parameters.get("lambda", 1.0) == 1.0
    back = made.inverse(np.array([-9.0, *made.forward(np.full(2, 2.5)), 9.0]))
    assert back == pytest.approx(np.full(4, 2.5))


@pytest.mark.parametrize("name", ["boxcox", "yeojohnson", "quantile"])
def test_predictions_go_back_no_further_than_what_was_learned_from_and_keep_their_shape(name: str) -> None:
    made = fitted_transform(name, SKEWED)
    fitted = np.array([[-1e9, made.forward(SKEWED[1:2])[0]], [made.forward(SKEWED[:1])[0], 1e9]])
    back = made.inverse(fitted)
    assert back.shape == (2, 2)
    assert (back[0, 0], back[1, 1]) == (SKEWED.min(), SKEWED.max())
    assert back[1, 0] == pytest.approx(SKEWED[0])
    assert back[0, 1] == pytest.approx(SKEWED[1])


def test_quantiles_are_of_no_more_than_a_thousand_values() -> None:
    for n, kept in ((3, 3), (999, 999), (1000, 1000), (2500, 1000)):
        values = np.random.default_rng(n).normal(size=n)
        made = fitted_transform("quantile", values)
        known = np.array(made.parameters["values"])
        assert len(known) == kept
        assert (known[0], known[-1]) == (values.min(), values.max())
        assert known == pytest.approx(np.quantile(values, np.linspace(0, 1, kept)))
        theirs = QuantileTransformer(n_quantiles=kept, output_distribution="normal", subsample=None)
        assert made.forward(values) == pytest.approx(theirs.fit_transform(values[:, None])[:, 0], abs=1e-6)
        # Beyond the ends, as at them: a share of almost 0, and of almost 1.
        ends = special.ndtri([1e-7, 1 - 1e-7])
        assert made.forward(np.array([values.min() - 9, values.max() + 9])) == pytest.approx(ends)
        assert made.forward(values[[values.argmin(), values.argmax()]]) == pytest.approx(ends)
        assert made.inverse(made.forward(values)) == pytest.approx(values, abs=2e-2 if n > kept else 1e-9)


def test_many_rows_of_one_value_share_the_middle_of_their_shares() -> None:
    values = np.r_[np.zeros(60), np.arange(1.0, 41.0)]
    made = fitted_transform("quantile", values)
    shares = special.ndtr(made.forward(np.array([0.0, 20.0, 40.0])))
    assert shares == pytest.approx([0.3, 79 / 99, 1], abs=0.01)
    assert special.ndtr(made.forward(np.array([20.0]))) == pytest.approx(79 / 99)
    assert made.inverse(made.forward(np.array([0.0]))) == pytest.approx([0.0])


def test_what_a_target_must_be_above() -> None:
    above = {"none": -np.inf, "log1p": -1, "boxcox": 0, "yeojohnson": -np.inf, "quantile": -np.inf}
    assert above == LOWEST
    assert set(above) == set(TRANSFORMS)
    for name in TRANSFORMS:
        values = np.array([max(LOWEST[name], -5.0) + 0.25, 1.0, 2.0, 4.5])
        assert np.isfinite(fitted_transform(name, values).forward(values)).all()
