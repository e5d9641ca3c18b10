"""Several workers of one run, and the shards of a batch: who computes what, and sums over all."""
