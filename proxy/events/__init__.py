"""Takes what applications say that units did: the source of the channel of events."""
