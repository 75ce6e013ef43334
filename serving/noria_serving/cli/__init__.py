"""The commands of `noria-server` for people: serve, inspect, predict."""
