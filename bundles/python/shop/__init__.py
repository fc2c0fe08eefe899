"""What the shop's Python services share: see README.md beside this package."""
