"""Every decoder of what a topic, a file or a request can hold, driven with what nobody meant to send.

Read ``law.py`` (what must hold), then ``targets/`` (what is driven), then ``run.py`` (each target in a process of its
own, as a decoder may end the one that it runs in).
"""
