"""An example log of a shop that does not exist, made to try the whole path on; results on it say nothing of a real one.

``shop`` draws products and customers, ``sessions`` lets them view, cart and buy, ``files`` writes what a shop exports.
"""
