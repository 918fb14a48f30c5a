"""Gates: what a model must show before it is registered. Start at table.py.

This file imports nothing, because `python -m trimtab.gates.measure` must weigh a bundle and little else.
"""
