"""Load data sets from files and arrays, and take the batch at a position."""
