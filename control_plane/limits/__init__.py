"""How many requests a caller and an address may send."""
