"""What people change: each operation checks the role of its actor. For commands, pages and the API."""
