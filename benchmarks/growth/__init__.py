"""The cost of the loop's steps by the number of judged windows."""
