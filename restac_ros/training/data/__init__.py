"""Training samples at random from LeRobot data sets, in an order that is a function of (seed, index)."""
