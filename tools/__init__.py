"""Tools of this checkout that users run through make; nothing here is part of the distribution."""
