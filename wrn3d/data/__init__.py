"""Data sets: files to arrays, arrays to the batch at a position."""
