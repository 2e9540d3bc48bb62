"""The product as it is shipped: wheel, sdist, settings and containers."""
