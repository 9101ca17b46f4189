"""Other systems' files: read, planned, applied."""
