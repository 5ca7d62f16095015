"""A bundle in the shadow of the one that serves: both rank the same live requests, and only one answers.

::

    comparison.py   two outcomes of one request -> how they differ          pure
    report.py       what a worker found, all workers' figures, the verdict  pure
    process.py      the process beside a worker that ranks by both bundles

It is a process of its own, so that a bundle that is slow, hangs, takes all memory or crashes costs no request. What
speaks with it is ``streams/worker/shadow.py``.
"""
