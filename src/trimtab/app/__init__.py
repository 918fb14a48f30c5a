"""The floor that wires: opens projects and their stores, runs stages, gateway, loop, replay and reports."""
