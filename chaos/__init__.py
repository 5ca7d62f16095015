"""Faults on a running system by a seeded plan, and the ledger of what they cost: ``python -m chaos``.

::

    plan.py      seed -> faults, each with its time and its worker            pure
    world.py     the broker, and what of the workers' surroundings can be broken on this machine
    load.py      numbered actions and requests, sent all the while
    system.py    the workers, started again whenever they end
    storm.py     what each fault does: to workers, and by proxy.py to their lines, by disks.py to their disks, by
                 clocks.py to their clocks, by topics.py to the changelog
    oracle.py    the log -> what must be kept of each user                    pure, shares no code with the product
    ledger.py    what was found against what must be: lost, doubled, wrong
    timeline.py  what happened when; plot.py draws it
    run.py       all of it, from an empty broker to the ledger
"""
