"""Several workers: who they are, how they join, what they sum."""
