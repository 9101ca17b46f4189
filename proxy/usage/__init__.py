"""Counts how often each variant was evaluated: the source of the channel of usage."""
