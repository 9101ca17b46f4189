"""Flags as people define them: from the bodies they send to the record that is stored."""
