"""Several workers of one run: find this process's rank, join the others, sum over all of them."""
