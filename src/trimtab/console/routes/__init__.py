"""The routes of the console, one file an area: its pages, and the same content for programs."""
