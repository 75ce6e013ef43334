"""Whether what a model sees has moved away from what it was trained on: distances on counts, and when one
counts.
"""
