"""The compiled path of the samplers: a plan as a program, and its interpreter."""
