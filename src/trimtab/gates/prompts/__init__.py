"""Gates of prompts: quality compared with the champion, limits of format, safety, first token and cost, tags, items."""
