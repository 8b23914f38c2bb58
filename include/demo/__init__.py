"""The demo: a marketplace, and real servers on this machine that stand in for a company's own."""
