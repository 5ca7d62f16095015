"""The ranker on KuaiRand-Pure."""
