"""How long a test waits for what comes in its own time.

The limit is what a broken product costs, not what a sound one takes: a wait ends as soon as its condition is there. So
it is far above what any machine needs, also one that has others' work to do. Where a time is itself the promise, the
test has a limit of its own.
"""

PATIENCE_S = 120.0
