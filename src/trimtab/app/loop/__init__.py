"""The loop: monitor, decide, act, retrain. One instance a project."""
