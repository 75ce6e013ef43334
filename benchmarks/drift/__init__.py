"""How soon drift is found, and how often where there is none: Noria's rules beside its peers'."""
