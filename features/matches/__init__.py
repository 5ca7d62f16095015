"""Match features: how a candidate goes with what the user did, exactly, without a model."""
