"""HTTP as all features speak it: routes, documents in, answers out, errors, the API's description.

Knows nothing of flags, Redis or publishing.
"""
