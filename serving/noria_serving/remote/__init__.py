"""Bundles on web servers and in registries: requests to checked addresses, and safe unpacking."""
