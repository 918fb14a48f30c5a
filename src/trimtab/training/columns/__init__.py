"""What is learned of columns, labels and objectives: classes, category features, checks of requests."""
