"""Which sidecar serves what: standings heard, shared between replicas, summed up when asked."""
