"""What every destination type promises, as tests for a type of your own: subclass `DestinationContract`.

docs/adding-a-destination.md shows how.
"""

import pytest

pytest.register_assert_rewrite("destination_contract.suite")

from destination_contract.suite import DestinationContract  # noqa: E402  after the line that makes its asserts talk

__all__ = ["DestinationContract"]
