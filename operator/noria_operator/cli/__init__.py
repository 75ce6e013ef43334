"""`kubectl noria`: what deployments and loops are doing, why, and the few commands that people give them."""
