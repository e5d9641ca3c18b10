"""Errors, checks, files, memory and the terminal. Imports from no other room."""
