"""Helpers that several tests share: processes, small environments, data files, references."""
