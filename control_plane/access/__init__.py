"""Who is calling, and the keys that programs present."""
