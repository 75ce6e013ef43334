"""The demo on real data: every flight that left New York in 2013, and whether it will arrive late."""
