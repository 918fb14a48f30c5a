"""Where verbs print what people read. Apart from options, since rich takes a while to load."""

from rich.console import Console

console = Console(highlight=False)
