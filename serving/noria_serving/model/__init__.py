"""Models behind one interface: verified bundle bytes become something that turns arrays into arrays."""
