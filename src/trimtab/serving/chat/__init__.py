"""Chat completions in the form of OpenAI, answered by endpoints of language models."""
