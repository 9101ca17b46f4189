"""The control plane: owns the definitions, keeps state in Redis, publishes snapshots."""
