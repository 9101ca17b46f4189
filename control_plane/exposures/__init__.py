"""What sidecars report: which unit was shown which variant, stored once."""
