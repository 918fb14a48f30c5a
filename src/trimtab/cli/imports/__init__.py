"""The verb that imports models of other systems."""
