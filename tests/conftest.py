"""Set-up of all tests."""

import pytest
from hypothesis import settings

pytest.register_assert_rewrite("trimtab.testing")

settings.register_profile("untimed", deadline=None)  # how long an example takes is no test's matter
settings.load_profile("untimed")
