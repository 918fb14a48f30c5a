"""The gateway beside a hand-written server of the same model."""
