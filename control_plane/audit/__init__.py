"""Who changed what: the audit entry of every change, the versions of a flag, and going back."""
