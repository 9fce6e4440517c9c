"""Models with literals, boxes, and an adversary: what a certificate has to stand."""
