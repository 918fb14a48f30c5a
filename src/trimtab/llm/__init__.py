"""Language models: messages, calls of endpoints, money, redaction, evaluation, and a stand-in on this machine."""
