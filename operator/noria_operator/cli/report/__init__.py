"""`kubectl noria report`: what changed, how sure one can be, and why it was decided so, as one page.

A page is a single HTML file: no script, no address, its pictures are SVG within it. It opens without a
network and can be kept beside a ticket.
"""
