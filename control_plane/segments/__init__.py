"""Segments: named conditions of a project that flags and other segments refer to."""
