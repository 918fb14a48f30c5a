"""What the loop watches of prompts: references of turns, and verdicts of judges on a sample of them."""
