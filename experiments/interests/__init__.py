"""Whether several interests of a user find more than one vector: the order of PinnerSage's table 3, on logs."""
