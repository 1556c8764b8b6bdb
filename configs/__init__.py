"""Configurations: one file a method, every default once in `base.py`."""
