"""The verb that writes files for other systems."""
