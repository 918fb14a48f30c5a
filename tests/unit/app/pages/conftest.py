"""The served projects of every task, as the tests of overviews have them."""

from unit.app.overviews.conftest import served as served
