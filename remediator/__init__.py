"""Preview, apply and keep the hardening of Docker and Kubernetes hosts."""
