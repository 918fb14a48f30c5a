"""A language model of this machine behind OpenAI's interface: weights of transformers, adapters of peft, one thread.

torch, transformers and peft are imported when weights are loaded, and may be those of another environment.
"""
