"""Reports of a run or of a loss, to print and to send to others."""
