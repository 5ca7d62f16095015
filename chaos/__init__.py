"""Faults on a running system by a seeded plan, and the ledger of what they cost: ``python -m chaos``.

::

    plan.py     seed -> faults, each with its time and its worker            pure
    load.py     numbered actions and requests, sent all the while
    system.py   the workers, and what each fault does to them
    oracle.py   the log -> what must be kept of each user                    pure, shares no code with the product
    ledger.py   what was found against what must be: lost, doubled, wrong
    run.py      all of it, from an empty broker to the ledger
"""
