"""Actions applied by machine code: numba's, to the same bytes as the plain pipeline.

::

    records -> ../columns     one buffer of bytes, and where each record's key and value lie in it
            -> json_actions   JSON in the common form -> 16-byte actions; what is not, the plain decoder takes
            -> key_table      whose they are: a slot in the arena
            -> histories      put into the slot's ring of actions; what leaves it, into its tail and counters
            -> states         a slot <-> the record that ``UserState.pack`` writes
            -> state_records  what a checkpoint writes of many slots -> record batches of the changelog
    changelog -> logged_states  what a restore reads -> the newest state of each user

``record_batches.py`` makes columns of what a broker sent, ``pipeline.py`` is the glue and ``users.py`` what the
checkpoint sees; the other modules hold one kernel each. Plain code stays the reference: whatever a kernel is not sure
of is handed to it, record by record or user by user. numba is imported in here alone, and only where the engine is
chosen (``streams/engine.py``).
"""
