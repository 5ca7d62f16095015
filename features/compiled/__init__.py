"""The join by machine code: numba's, to the same bytes as ``features/join.py``.

::

    history_items    the user's different items, and what was done to each    the plain twin: matches/columns.py
    item_lists       what goes with these items, by four rules                matches/lists.py
    sessions         the sessions that the recurrent state has not seen       join.py, sessions.py
    cosines          how near candidates are to them                          matches/columns.py
    attributes       what candidates are, beside what the user takes          attributes/columns.py
    rows             keys -> rows of a table -> vectors                       embeddings/key_search.py, table.py
    join             the glue, and the logarithms, which are numpy's

Plain code stays the reference and serves where numba is not installed. numba's logarithms are not numpy's in the last
bit, so kernels write what a logarithm is taken of, and numpy takes it of all at once. ``code_cache.py`` says where the
machine code is kept, for this room and for ``streams/compiled``.
"""
