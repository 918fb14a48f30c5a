"""Reports as pages that stand alone: one HTML file each, with its style and its charts, readable without a network."""
