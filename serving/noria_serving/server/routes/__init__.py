"""What the routed port answers, a file for each part of it: a Call comes in, an Answer goes out."""
