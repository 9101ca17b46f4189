"""What exposures, events and usage have in common: a batch is taken once, and then counted once."""
