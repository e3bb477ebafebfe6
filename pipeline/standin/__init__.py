"""A local server that speaks the Messages API: for tests, demos and load trials.

It states the API's contract a second time, independently: nothing here imports from the rest of the package, so that
client and server cannot share a mistake. Facts are those of the API's public documentation as of November 2026.
"""
