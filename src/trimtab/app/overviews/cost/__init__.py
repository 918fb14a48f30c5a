"""What models cost, and the sums that this takes."""
