"""Where blocklists are kept: they survive restarts, and the workers of one machine, or several machines, share them."""
