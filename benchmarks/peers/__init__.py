"""Model servers side by side: the same model files, served by Noria, by its peers and by bare floors, each
from an environment of its own.
"""
