"""Many runs that share one environment, and how each of them came to be."""
