"""Headline figures: each folder runs Trimtab and a peer side by side in one run and prints ratios."""
