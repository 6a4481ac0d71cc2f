"""View sets: the contract between the rooms, and pictures and videos made of them."""
