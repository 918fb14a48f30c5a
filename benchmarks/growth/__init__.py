"""How the loop's work grows with the windows that it has judged."""
