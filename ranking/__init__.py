"""From ModelInputs to an order: bundles, backends, utility, blend, exploration; no torch."""
