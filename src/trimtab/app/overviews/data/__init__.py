"""Tables, quarantine, features, and what is made from what."""
