"""What the speed claims rest on: anyone can run it with `make bench`."""
