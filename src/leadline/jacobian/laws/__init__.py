"""Laws of growth over depth and over distance, the errors of correlated series, and the verdicts that follow."""
