"""What only the model server can see, as integers that only grow."""
