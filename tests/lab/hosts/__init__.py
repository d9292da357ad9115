"""Real hosts for the lab tests: containers with systemd, emulated machines, a Kubernetes control plane."""
