"""The private CA for Docker daemons and their clients, and the certificates that the controller holds for hosts."""
