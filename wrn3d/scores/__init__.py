"""Scores of predictions, with intervals: tables, JSON and pictures."""
