"""Measurements on the photo: pixel classes, occlusions of skin, light, and its projection."""
