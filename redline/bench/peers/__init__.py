"""Other engines, each in an environment of its own, driven through the workers of redline/bench/workers."""
