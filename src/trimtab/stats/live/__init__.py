"""Two prompts on live traffic: evidence that may be looked at after every conversation or user."""
