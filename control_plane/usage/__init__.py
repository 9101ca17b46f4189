"""Usage: how often each variant of each flag was evaluated, and when a flag was last."""
