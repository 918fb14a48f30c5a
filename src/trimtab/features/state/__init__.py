"""What is kept of a view's rows between two steps of its stream, and the entries that a step writes."""
