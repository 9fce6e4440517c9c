"""Every statement of the theory as an executable claim."""
