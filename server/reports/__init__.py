"""Report pages and turntables of fits and meshes."""
