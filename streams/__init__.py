"""Kafka and Faust around ``pipeline.py``, which is the whole path of one partition."""
