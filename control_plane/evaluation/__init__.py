"""What a flag would answer to a context: now, as a draft, or as it was."""
