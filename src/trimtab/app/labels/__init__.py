"""Labels from files and tables into the prediction log."""
