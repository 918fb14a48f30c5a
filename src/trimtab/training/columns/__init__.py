"""What is learned of columns and labels before a training: classes, category features, checks of requests."""
