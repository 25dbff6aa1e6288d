"""The suite, and what its tests share."""

import pytest

# What these assert is explained as it is in the tests.
pytest.register_assert_rewrite("tests.commands", "tests.conversion", "tests.fetching", "tests.platform_contract")
