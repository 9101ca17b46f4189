"""Custom events, what units did: taken once, counted once."""
