"""Data: media in, aligned qualities of each face out, stored as ArrayRecord and read with Grain."""
