"""What crosses from training to serving: a bundle is a list of parts, each with the golden cases that verify it.

``parts.py``, ``golden.py``, ``manifest.py`` and ``writer.py`` know parts, and no model. A kind of part has a file of
its own (``ranker.py``, ``sessions.py``, ``user_vectors.py``, ``item_tables.py``): the names of its graphs, its sizes
and its golden cases, which are the contract between its exporter and its opener.
"""
