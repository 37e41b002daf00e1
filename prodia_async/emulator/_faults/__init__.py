"""Faults: what a server, or what stands before it, can do wrong. `table.py` lists all of them."""
