"""Answers evaluations as the OpenFeature Remote Evaluation Protocol 0.3.0 says.

Pure functions from a request to an answer, put together by `answering`. Two ways lead to it:
`front` reads ordinary requests, `routes` lets aiohttp read all others; `port` opens both, and
`streams` keeps the event streams. What is answered, item by item, stands in `docs/ofrep.md`; the
tests of an item carry its number.
"""
