"""Redis: every key, the atomic steps, and the connection. Knows records as bytes, not as flags."""
