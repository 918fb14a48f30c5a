"""A project with its stores open, and what every room of `app` needs of it."""
