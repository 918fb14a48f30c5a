"""The console: the pages of the loop and the control API, in one process."""
