"""Exposures, which unit was shown which variant: taken once, and counted once for each unit."""
