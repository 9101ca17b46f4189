"""From stored definitions to what sidecars are sent: the copy in memory, snapshots, streams."""
