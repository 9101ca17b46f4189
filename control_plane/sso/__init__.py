"""People whom another system vouches for: how they come in, who they are here, what they may do."""
