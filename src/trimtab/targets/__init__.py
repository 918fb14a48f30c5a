"""Files for other platforms, made of the policy and the definitions alone. No store is opened."""
