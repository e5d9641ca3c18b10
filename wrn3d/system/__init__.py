"""Errors, checks, files, memory and the terminal. Imports from no other folder of wrn3d."""
