"""Two prompts on the same items, and a judge against people: tests, bounds and smallest effects of one look."""
