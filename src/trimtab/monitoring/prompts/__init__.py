"""What the monitor does for prompts alone: their texts, features and reference."""
