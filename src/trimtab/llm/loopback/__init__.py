"""The loopback provider: a server with OpenAI's interface whose models are rules, for tests and examples.

It is no language model. The same seed, model and messages give the same answer.
"""
