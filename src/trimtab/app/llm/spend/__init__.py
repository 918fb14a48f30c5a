"""What prompts have cost: reports, closed periods, settlement of turns whose end is not known."""
