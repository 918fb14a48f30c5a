"""What pages and the API show, as typed values. Reads the stores and changes nothing."""
