"""Evaluation of prompts: sets of examples, answers to them, and what evaluators and judges say of these."""
