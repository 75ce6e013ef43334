"""The protocols that clients speak, pure: bytes → requests that fit a signature, answers → bytes."""
