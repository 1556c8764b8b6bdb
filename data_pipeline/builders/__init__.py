"""TFDS builders, one module a data set; all write the same features."""
