"""Synthetic subjects: people of the human head with hair, clothes, materials and light."""
