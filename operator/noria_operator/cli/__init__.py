"""`kubectl noria`: what the wheel is doing, why, and the few commands that people give it."""
