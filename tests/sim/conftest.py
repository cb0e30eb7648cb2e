"""What only a lucky draw reaches counts as not covered; and what is not measured is faster."""

import pytest


@pytest.fixture(autouse=True)
def chance_covers_nothing(no_cover: None) -> None:
    """Have nothing measured (pytest-cov)."""
