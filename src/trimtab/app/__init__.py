"""The floor that wires: opens a project and its stores, lists the stages, holds the actions of the loop."""
