"""Answers evaluations as the OpenFeature Remote Evaluation Protocol 0.3.0 says.

Pure functions from a request to an answer, and `routes`, the only module that knows aiohttp. The
acceptance list, item by item, is `tests/proxy/ofrep/test_routes.py`, and of event streams
`test_streams.py`.
"""
