"""Pages over the gateway's routes: the live page, which shows a feed that follows its visitor. No state of its own."""
