"""Measurements that anyone can repeat with `make bench`, each beside a floor or a peer of the same run."""
