"""Set-up of all tests."""

import pytest

pytest.register_assert_rewrite("trimtab.testing")
