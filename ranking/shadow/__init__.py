"""A bundle in the shadow of the one that serves: both rank the same live requests, and only one answers.

::

    comparison.py   two outcomes of one request -> how they differ          pure
    report.py       what a worker found, all workers' figures, the verdict  pure

What ranks by both is a process beside each worker (``streams/worker/shadow_process.py``), so that a bundle that is
slow, hangs, takes all memory or crashes costs no request.
"""
